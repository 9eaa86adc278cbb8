/* In which thread and loop this is, which is asked with every command.
 *
 * No reference is taken to the functions that say it: on a free-threaded Python these are words that every thread would
 * write, and wait for.
 */
#ifndef AIONVME_HERE_H
#define AIONVME_HERE_H

#include <Python.h>

/* Calls a function of Python's without arguments; one that is compiled, and takes none, by its pointer. */
static inline PyObject *aio_call_bare(PyObject *function)
{
    if (PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == METH_NOARGS)
        return PyCFunction_GET_FUNCTION(function)(PyCFunction_GET_SELF(function), NULL);
    return PyObject_CallNoArgs(function);
}

/* As threading.get_ident(). */
static inline unsigned long aio_this_thread(void)
{
    return PyThread_get_thread_ident();
}

#endif
