/* The way from a call in Python to the short way of a command, without the seventeen arguments of the long way.
 *
 * A function is called through a pointer that it carries (the vectorcall protocol, PEP 590). For read, submit_read, write
 * and submit_write it is replaced by one that looks whether the call has no keywords and can go the short way, and else
 * does as the function did. What introspection says of them stays as it is.
 */
#ifndef AIONVME_SHORTCUT_H
#define AIONVME_SHORTCUT_H

#include <Python.h>
#include <stdint.h>

/* A new request; None where the call has to go the long way; NULL with an exception. */
typedef PyObject *(*aio_short_way)(PyObject *qp, uint8_t opcode, PyObject *ns, PyObject *buf, PyObject *lba,
                                   PyObject *nblocks, PyObject *cb_fn, PyObject *cb_arg);

enum { AIO_SHORTCUTS = 4 };

static struct {
    uint8_t opcode;
    uint8_t most;               /* arguments, the queue pair among them */
    vectorcallfunc long_way;
} aio_shortcuts[AIO_SHORTCUTS];

static aio_short_way aio_short;
static PyTypeObject *aio_qp_type, *aio_ns_type;

static inline PyObject *aio_call_shortly(int which, PyObject *function, PyObject *const *args, size_t nargsf,
                                         PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    PyObject *request;

    if (names == NULL && 5 <= count && count <= aio_shortcuts[which].most && PyObject_TypeCheck(args[0], aio_qp_type)
        && Py_IS_TYPE(args[1], aio_ns_type)) {
        request = aio_short(args[0], aio_shortcuts[which].opcode, args[1], args[2], args[3], args[4],
                            count > 5 ? args[5] : Py_None, count > 6 ? args[6] : Py_None);
        if (request != Py_None)
            return request;
        Py_DECREF(request);
    }
    return aio_shortcuts[which].long_way(function, args, nargsf, names);
}

#define AIO_SHORTCUT(which)                                                                                            \
    static PyObject *aio_shortcut_##which(PyObject *function, PyObject *const *args, size_t nargsf, PyObject *names)   \
    {                                                                                                                  \
        return aio_call_shortly(which, function, args, nargsf, names);                                                 \
    }

/* One for each, since they know nothing of the function that they stand for. */
AIO_SHORTCUT(0)
AIO_SHORTCUT(1)
AIO_SHORTCUT(2)
AIO_SHORTCUT(3)

/* What the short way goes from and to. */
static void aio_set_short_way(void *way, PyObject *qp_type, PyObject *ns_type)
{
    aio_short = (aio_short_way)way;
    aio_qp_type = (PyTypeObject *)qp_type;
    aio_ns_type = (PyTypeObject *)ns_type;
}

/* Has calls of a function with up to `most` arguments try it. A function without the protocol stays as it is. */
static void aio_shorten(int which, PyObject *function, uint8_t opcode, uint8_t most)
{
    static const vectorcallfunc ways[AIO_SHORTCUTS] = {
        aio_shortcut_0, aio_shortcut_1, aio_shortcut_2, aio_shortcut_3};
    Py_ssize_t offset = Py_TYPE(function)->tp_vectorcall_offset;
    vectorcallfunc *slot;

    if (!PyType_HasFeature(Py_TYPE(function), Py_TPFLAGS_HAVE_VECTORCALL) || offset <= 0)
        return;
    slot = (vectorcallfunc *)((char *)function + offset);
    if (*slot == NULL)
        return;
    aio_shortcuts[which].opcode = opcode;
    aio_shortcuts[which].most = most;
    aio_shortcuts[which].long_way = *slot;
    *slot = ways[which];
}

#endif
