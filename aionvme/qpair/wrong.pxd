# What is wrong on purpose, in a build that proves that the tests would see it (`tools.wrong`); never in another.

cdef extern from *:
    """
    #ifdef AIONVME_WRONG_FREE_CID_AT_CANCEL
    #define AIO_FREES_CID_AT_CANCEL 1
    #else
    #define AIO_FREES_CID_AT_CANCEL 0
    #endif
    """
    bint FREES_CID_AT_CANCEL "AIO_FREES_CID_AT_CANCEL"
