/* What Cython has no words for: how a request is stepped without an exception for its end, how a task is resumed in its
 * context, and the requests that are taken again.
 */
#ifndef AIONVME_PROTOCOL_H
#define AIONVME_PROTOCOL_H

#include <Python.h>
#include <string.h>

/* -- stepping ---------------------------------------------------------------------------------------------------- */

/* Steps a request: the request itself while it goes on, what it gives when it has ended, NULL with an exception. */
static PyObject *(*aio_advance)(PyObject *request);

/* `await` in 3.11, and tasks whose own coroutine a request is: the result is no exception (am_send of PyAsyncMethods). */
static PySendResult aio_request_send(PyObject *request, PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = aio_advance(request);
    if (*result == NULL)
        return PYGEN_ERROR;
    return *result == request ? PYGEN_NEXT : PYGEN_RETURN;
}

/* `await` in 3.12 and later asks for the next item, and takes the result out of a StopIteration. */
static PyObject *aio_request_next(PyObject *request)
{
    PyObject *result = aio_advance(request), *stop;

    if (result == NULL || result == request)
        return result;
    /* A tuple would be taken for the arguments of StopIteration, an exception for itself. */
    if (PyTuple_Check(result) || PyExceptionInstance_Check(result)) {
        stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL)
            PyErr_SetObject(PyExc_StopIteration, stop);
        Py_XDECREF(stop);
    } else {
        PyErr_SetObject(PyExc_StopIteration, result);
    }
    Py_DECREF(result);
    return NULL;
}

/* -- resuming ----------------------------------------------------------------------------------------------------- */

enum { AIO_RESUMED, AIO_ENTERED, AIO_RAISED };

static PyTypeObject *aio_task_type;
static PyMethodDef *aio_wakeup;

/* Whether a done-callback is a task's own: TaskWakeupDef of Modules/_asynciomodule.c, under the names that it has had. */
static inline int aio_is_wakeup(PyObject *callback)
{
    PyMethodDef *method;

    if (!PyCFunction_CheckExact(callback))
        return 0;
    method = ((PyCFunctionObject *)callback)->m_ml;
    if (method == aio_wakeup)
        return 1;
    if (method->ml_flags != METH_O
        || (strcmp(method->ml_name, "task_wakeup") != 0 && strcmp(method->ml_name, "wakeup") != 0)
        || !Py_IS_TYPE(PyCFunction_GET_SELF(callback), aio_task_type))
        return 0;
    aio_wakeup = method;
    return 1;
}

/* Calls a done-callback in its context. AIO_ENTERED: somebody is in that context, and nothing was called.
 *
 * A task asks what wakes it for its result only to learn of an exception, which costs more than all the rest where that
 * is no asyncio.Future; then it steps its coroutine, which gets result or exception from us. So it is given a future that
 * has ended instead.
 */
static inline int aio_resume(PyObject *context, PyObject *callback, PyObject *request, PyObject *ended)
{
    PyObject *result;

    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        return AIO_ENTERED;
    }
    if (ended != Py_None && aio_is_wakeup(callback))
        result = aio_wakeup->ml_meth(PyCFunction_GET_SELF(callback), ended);
    else
        result = PyObject_CallOneArg(callback, request);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(result);
    if (result == NULL)
        return AIO_RAISED;
    Py_DECREF(result);
    return AIO_RESUMED;
}

/* Calls a command's callback. */
static inline int aio_call_back(PyObject *callback, PyObject *argument, PyObject *cpl)
{
    PyObject *args[3] = {NULL, argument, cpl};
    PyObject *result = PyObject_Vectorcall(callback, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);

    if (result == NULL)
        return AIO_RAISED;
    Py_DECREF(result);
    return AIO_RESUMED;
}

/* -- taking again ------------------------------------------------------------------------------------------------- */

/* Of what is in flight on 64 queue pairs at 64 each none is made anew; they take some megabytes. */
enum { AIO_KEPT_MOST = 4096 };

static PyObject *aio_kept[AIO_KEPT_MOST];
static int aio_kept_count;
static destructor aio_free;

/* Makes a request that nobody has any more fit to be taken again; 0: it has too much to it. */
static int (*aio_strip)(PyObject *request);

static void aio_request_dealloc(PyObject *request)
{
#ifndef Py_GIL_DISABLED
    int stripped = 0;

    PyObject_GC_UnTrack(request);
    if (aio_kept_count < AIO_KEPT_MOST && !PyObject_GC_IsFinalized(request)) {
        /* It lives while what it refers to is let go. */
        Py_SET_REFCNT(request, 1);
        stripped = aio_strip(request);
        Py_SET_REFCNT(request, 0);
    }
    if (stripped && aio_kept_count < AIO_KEPT_MOST) {
        aio_kept[aio_kept_count++] = request;
        return;
    }
    PyObject_GC_Track(request);
#endif
    if (PyObject_CallFinalizerFromDealloc(request) < 0)
        return;
    PyObject_GC_UnTrack(request);
    /* In a long chain of what refers to each other one is freed after another, not within another. */
    Py_TRASHCAN_BEGIN(request, aio_request_dealloc)
    aio_free(request);
    Py_TRASHCAN_END
}

/* One that was kept, as a new reference; NULL: there is none. */
static inline PyObject *aio_take_kept(void)
{
    PyObject *request;

    if (aio_kept_count == 0)
        return NULL;
    request = aio_kept[--aio_kept_count];
    PyObject_Init(request, Py_TYPE(request));
    PyObject_GC_Track(request);
    return request;
}

/* Has the type of requests, which no other derives from, do as above. */
static void aio_set_slots(PyTypeObject *type, void *advance, void *strip, PyObject *task_type)
{
    aio_task_type = (PyTypeObject *)task_type;
    aio_advance = (PyObject *(*)(PyObject *))advance;
    aio_strip = (int (*)(PyObject *))strip;
    aio_free = type->tp_dealloc;
    type->tp_as_async->am_send = aio_request_send;
    type->tp_iternext = aio_request_next;
    type->tp_dealloc = aio_request_dealloc;
}

#endif
