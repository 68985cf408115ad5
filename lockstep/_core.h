/* What the parts of lockstep._core share: the checks of the arrays that Python hands in. */

#ifndef LOCKSTEP_CORE_H
#define LOCKSTEP_CORE_H

#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL lockstep_core_numpy
#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>
#include <string.h>

enum { TO_READ, TO_WRITE };

static inline PyArrayObject *
array(PyObject *given, int type, int dimensions, int use, const char *name)
{
    if (PyArray_Check(given)) {
        PyArrayObject *found = (PyArrayObject *)given;
        int same = PyArray_TYPE(found) == type;
        if (type == NPY_INT64) { /* one of the types of this size goes by that name */
            same = PyTypeNum_ISSIGNED(PyArray_TYPE(found)) && PyArray_ITEMSIZE(found) == 8;
        }
        if (same && PyArray_NDIM(found) == dimensions && PyArray_IS_C_CONTIGUOUS(found) && PyArray_ISBEHAVED_RO(found) &&
            (use == TO_READ || PyArray_ISWRITEABLE(found))) {
            return found;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s is not the array that was expected", name);
    return NULL;
}

static inline int
is_long(PyArrayObject *one, npy_intp length)
{
    return PyArray_DIM(one, 0) == length;
}

static inline int
is_table(PyArrayObject *one, npy_intp height, npy_intp width)
{
    return PyArray_DIM(one, 0) == height && PyArray_DIM(one, 1) == width;
}

/* Whether all numbers of an array of int64 are places among so many. */
static inline int
are_places(PyArrayObject *one, npy_intp count)
{
    const int64_t *place = PyArray_DATA(one);
    for (npy_intp i = 0; i < PyArray_DIM(one, 0); i++) {
        if (place[i] < 0 || place[i] >= count) {
            return 0;
        }
    }
    return 1;
}

static inline PyObject *
unfit(void)
{
    PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
    return NULL;
}

static inline int
expects(Py_ssize_t given, Py_ssize_t wanted, const char *function)
{
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", function, wanted, given);
    }
    return given == wanted;
}

/* _requests.c */
PyObject *parse(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *collect(PyObject *module, PyObject *const *given, Py_ssize_t count);

/* _trees.c */
PyObject *link_trees(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *sum_trees(PyObject *module, PyObject *const *given, Py_ssize_t count);

/* _front.c */
PyObject *link_front(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *run_front(PyObject *module, PyObject *const *given, Py_ssize_t count);

#endif
