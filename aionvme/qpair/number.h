/* Numbers of a call's arguments, where they are plain. */
#ifndef AIONVME_NUMBER_H
#define AIONVME_NUMBER_H

#include <Python.h>
#include <stdint.h>

/* An int, and no other kind of number, of 64 bits without a sign; 0: it is not one. */
static inline int aio_as_unsigned(PyObject *value, uint64_t *number)
{
    if (!PyLong_CheckExact(value))
        return 0;
    *number = PyLong_AsUnsignedLongLong(value);
    if (*number == UINT64_MAX && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

#endif
