/* In which thread and loop this is, which is asked with every command.
 *
 * No reference is taken to the functions that say it: on a free-threaded Python these are words that every thread would
 * write, and wait for.
 */
#ifndef AIONVME_HERE_H
#define AIONVME_HERE_H

#include <Python.h>
#include <string.h>

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

/* -- the running loop ---------------------------------------------------------------------------------------------
 *
 * Before 3.14 asyncio._get_running_loop() asks the kernel for the process with every call, which takes longer than to
 * submit a command. It looks for an object in the dict of the thread's state whose first word is the loop
 * (PyRunningLoopHolder of Modules/_asynciomodule.c). That is done here without the kernel; whether it is so is tried
 * first, in a loop that is known to run. Who calls it asks otherwise whether the process was forked.
 */
static PyObject *aio_loop_key;
static PyTypeObject *aio_holder_type;

static inline PyObject *aio_loop_holder(void)
{
    PyObject *dict = PyThreadState_GetDict();

    return dict != NULL ? PyDict_GetItemWithError(dict, aio_loop_key) : NULL;
}

/* Tries whether the loop is found; `running` is what asyncio says, in a loop that runs. */
static inline void aio_learn_loop(PyObject *running)
{
#if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
    PyObject *holder;

    if (aio_loop_key == NULL)
        aio_loop_key = PyUnicode_InternFromString("__asyncio_running_event_loop__");
    holder = aio_loop_key != NULL ? aio_loop_holder() : NULL;
    PyErr_Clear();
    if (holder != NULL && strstr(Py_TYPE(holder)->tp_name, "_RunningLoopHolder") != NULL
        && Py_TYPE(holder)->tp_basicsize >= (Py_ssize_t)(sizeof(PyObject) + sizeof(PyObject *))
        && *(PyObject **)(holder + 1) == running)
        aio_holder_type = Py_TYPE(holder);
#endif
}

/* Whether this loop is seen to run in this thread; 0: ask asyncio. */
static inline int aio_runs_here(PyObject *loop)
{
    PyObject *holder = aio_holder_type != NULL ? aio_loop_holder() : NULL;

    return holder != NULL && Py_TYPE(holder) == aio_holder_type && *(PyObject **)(holder + 1) == loop;
}

#endif
