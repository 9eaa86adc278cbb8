/* The way from a call in Python to the short way of a command, without the seventeen arguments of the long way.
 *
 * read, submit_read, write and submit_write are methods of a type, each with a C function of the fast-call convention
 * (METH_FASTCALL | METH_KEYWORDS). That is replaced by one that looks whether the call has no keywords and can go the
 * short way, and else does as the function did. What introspection says of them stays as it is.
 */
#ifndef AIONVME_SHORTCUT_H
#define AIONVME_SHORTCUT_H

#include <Python.h>
#include <stdint.h>

/* A new request; None where the call has to go the long way; NULL with an exception. */
typedef PyObject *(*aio_short_way)(PyObject *qp, uint8_t opcode, PyObject *ns, PyObject *buf, PyObject *lba,
                                   PyObject *nblocks, PyObject *cb_fn, PyObject *cb_arg);

typedef PyObject *(*aio_long_way)(PyObject *qp, PyObject *const *args, Py_ssize_t count, PyObject *names);

enum { AIO_SHORTCUTS = 4 };

static struct {
    uint8_t opcode;
    uint8_t most;               /* arguments */
    const char *name;
    aio_long_way long_way;
} aio_shortcuts[AIO_SHORTCUTS];

static aio_short_way aio_short;
static PyTypeObject *aio_ns_type;

/* After a call that failed: a mistake that was told in terms of C types and counts is told in those of the user. */
static __attribute__((cold, noinline)) void aio_explain(int which, PyObject *const *args, Py_ssize_t count,
                                                        PyObject *names)
{
    const char *name = aio_shortcuts[which].name;

    if (!PyErr_ExceptionMatches(PyExc_TypeError))
        return;
    if (count && !PyObject_TypeCheck(args[0], aio_ns_type)) {
        PyErr_Clear();
        if (PyLong_CheckExact(args[0]))
            PyErr_Format(PyExc_TypeError, "ns is a Namespace, not %R: pass ctrlr.namespaces[%R]", args[0], args[0]);
        else
            PyErr_Format(PyExc_TypeError, "ns is a Namespace, as ctrlr.namespaces[1], not %.100s",
                         Py_TYPE(args[0])->tp_name);
    } else if (names == NULL && count < 4) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError,
                     "%s() takes ns, buf, lba and nblocks, and was given %zd of them: %s(ns, buf, lba, nblocks%s)",
                     name, count, name, aio_shortcuts[which].most > 4 ? ", cb_fn, cb_arg" : "");
    }
}

/* A function of its own, so that the short way saves no registers for the sake of what follows this call. */
static __attribute__((noinline)) PyObject *aio_go_long(PyObject *qp, PyObject *const *args, Py_ssize_t count,
                                                       PyObject *names, int which)
{
    PyObject *request = aio_shortcuts[which].long_way(qp, args, count, names);

    if (__builtin_expect(request == NULL, 0))
        aio_explain(which, args, count, names);
    return request;
}

static inline PyObject *aio_call_shortly(int which, PyObject *qp, PyObject *const *args, Py_ssize_t count,
                                         PyObject *names)
{
    PyObject *request;

    if (names == NULL && 4 <= count && count <= aio_shortcuts[which].most && Py_IS_TYPE(args[0], aio_ns_type)) {
        request = aio_short(qp, aio_shortcuts[which].opcode, args[0], args[1], args[2], args[3],
                            count > 4 ? args[4] : Py_None, count > 5 ? args[5] : Py_None);
        if (request != Py_None)
            return request;
        Py_DECREF(request);
    }
    return aio_go_long(qp, args, count, names, which);
}

#define AIO_SHORTCUT(which)                                                                                            \
    static PyObject *aio_shortcut_##which(PyObject *qp, PyObject *const *args, Py_ssize_t count, PyObject *names)      \
    {                                                                                                                  \
        return aio_call_shortly(which, qp, args, count, names);                                                        \
    }

/* One for each, since they know nothing of the method that they stand for. */
AIO_SHORTCUT(0)
AIO_SHORTCUT(1)
AIO_SHORTCUT(2)
AIO_SHORTCUT(3)

/* What the short way goes to. */
static void aio_set_short_way(void *way, PyObject *ns_type)
{
    aio_short = (aio_short_way)way;
    aio_ns_type = (PyTypeObject *)ns_type;
}

/* Has calls of a method with up to `most` arguments try it; -1 with an exception where it is no such method. */
static int aio_shorten(int which, PyObject *method, uint8_t opcode, uint8_t most)
{
    static const aio_long_way ways[AIO_SHORTCUTS] = {
        aio_shortcut_0, aio_shortcut_1, aio_shortcut_2, aio_shortcut_3};
    PyMethodDef *def;

    if (!Py_IS_TYPE(method, &PyMethodDescr_Type)
        || ((PyMethodDescrObject *)method)->d_method->ml_flags != (METH_FASTCALL | METH_KEYWORDS)) {
        PyErr_SetString(PyExc_TypeError, "the methods with a short way were not compiled for it");
        return -1;
    }
    def = ((PyMethodDescrObject *)method)->d_method;
    aio_shortcuts[which].opcode = opcode;
    aio_shortcuts[which].most = most;
    aio_shortcuts[which].name = def->ml_name;
    aio_shortcuts[which].long_way = (aio_long_way)(void (*)(void))def->ml_meth;
    def->ml_meth = (PyCFunction)(void (*)(void))ways[which];
    return 0;
}

#endif
