/* Requests in C: their messages into columns, and the columns of several requests into those that a plan takes.

   Both know the usual case alone. `parse` answers None for a message that protobuf should read (serving/convert.py),
   `collect` for requests that Python should check (serving/together.py): each has the words for what is wrong.

   Bytes come from strangers: each is looked at only after its place was compared with the end. */

#define NO_IMPORT_ARRAY
#include "_core.h"
#include <math.h>

/* ---- Requests: PredictRequest of protos/lockstep/v1/scorer.proto, in
   https://protobuf.dev/programming-guides/encoding/. */

typedef struct {
    const unsigned char *at, *end;
} Bytes;

/* A number of at most 64 bits. */
static int
take_varint(Bytes *from, uint64_t *to)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        unsigned char byte = *from->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *to = value;
            return shift < 63 || byte < 2;
        }
    }
    return 0;
}

/* The bytes that a length stands before. */
static int
take_bytes(Bytes *from, Bytes *to)
{
    uint64_t size;
    if (!take_varint(from, &size) || size > (uint64_t)(from->end - from->at)) {
        return 0;
    }
    to->at = from->at;
    from->at = to->end = from->at + size;
    return 1;
}

/* What stands under the tag of the one field that a message has, or nothing where it has none. */
static int
only_field(Bytes message, unsigned char tag, Bytes *to)
{
    if (message.at == message.end) {
        *to = message;
        return 1;
    }
    return *message.at++ == tag && take_bytes(&message, to) && message.at == message.end;
}

static PyObject *
numbers_of(Bytes packed, npy_intp most)
{
    npy_intp count = 0;
    for (const unsigned char *at = packed.at; at < packed.end; at++) {
        count += *at < 0x80;
    }
    if (count > most) {
        return NULL;
    }
    PyObject *made = PyArray_SimpleNew(1, &count, NPY_INT64);
    if (made == NULL) {
        return NULL;
    }
    int64_t *to = PyArray_DATA((PyArrayObject *)made);
    for (npy_intp i = 0; i < count; i++) {
        uint64_t value;
        if (!take_varint(&packed, &value)) {
            Py_DECREF(made);
            return NULL;
        }
        to[i] = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
    if (packed.at < packed.end) {
        Py_CLEAR(made);
    }
    return made;
}

/* Numbers of eight bytes each. */
static PyObject *
words_of(Bytes packed, int type, npy_intp most)
{
    npy_intp count = (packed.end - packed.at) / 8;
    if ((packed.end - packed.at) % 8 || count > most) {
        return NULL;
    }
    PyObject *made = PyArray_SimpleNew(1, &count, type);
    if (made != NULL && count) {
        memcpy(PyArray_DATA((PyArrayObject *)made), packed.at, (size_t)count * 8);
    }
    return made;
}

static PyObject *
text_of(Bytes bytes)
{
    return PyUnicode_DecodeUTF8((const char *)bytes.at, bytes.end - bytes.at, "strict");
}

/* A list of the type that Python has for texts of a request. */
static PyObject *
texts_of(Bytes message, npy_intp most, PyObject *type)
{
    PyObject *made = PyObject_CallNoArgs(type);
    if (made == NULL || !PyList_Check(made)) {
        Py_XDECREF(made);
        return NULL;
    }
    while (message.at < message.end) {
        Bytes one;
        PyObject *text = NULL;
        int good = *message.at++ == 0x0A && take_bytes(&message, &one) && PyList_GET_SIZE(made) < most &&
                   (text = text_of(one)) != NULL && PyList_Append(made, text) == 0;
        Py_XDECREF(text);
        if (!good) {
            Py_DECREF(made);
            return NULL;
        }
    }
    return made;
}

/* One Column, put among the others under its name. */
static int
put_column(Bytes message, npy_intp most, PyObject *texts, PyObject *columns)
{
    Bytes name = {message.at, message.at}, values = name, inner;
    unsigned char kind = 0, named = 0;
    while (message.at < message.end) {
        unsigned char tag = *message.at++;
        if (tag == 0x0A && !named) {
            named = 1;
            if (!take_bytes(&message, &name)) {
                return 0;
            }
        }
        else if ((tag == 0x12 || tag == 0x1A || tag == 0x22) && !kind) {
            kind = tag;
            if (!take_bytes(&message, &values)) {
                return 0;
            }
        }
        else {
            return 0;
        }
    }
    if (!kind) {
        return 0;
    }
    PyObject *made = NULL, *key = text_of(name);
    if (key == NULL) {
        return 0;
    }
    if (kind == 0x22) {
        made = texts_of(values, most, texts);
    }
    else if (only_field(values, 0x0A, &inner)) {
        made = kind == 0x12 ? numbers_of(inner, most) : words_of(inner, NPY_FLOAT64, most);
    }
    int good = made != NULL && PyDict_Contains(columns, key) == 0 && PyDict_SetItem(columns, key, made) == 0;
    Py_DECREF(key);
    Py_XDECREF(made);
    return good;
}

static int
take_flag(Bytes *from, int *to)
{
    uint64_t value;
    if (!take_varint(from, &value)) {
        return 0;
    }
    *to = value != 0;
    return 1;
}

PyObject *
parse(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 3, "parse")) {
        return NULL;
    }
    char *start;
    Py_ssize_t size, most = PyLong_AsSsize_t(given[1]);
    if (PyBytes_AsStringAndSize(given[0], &start, &size) < 0 || (most == -1 && PyErr_Occurred())) {
        return NULL;
    }
    Bytes message = {(unsigned char *)start, (unsigned char *)start + size};
    Bytes model = {message.at, message.at}, version = model, times = {NULL, NULL}, column;
    int flags[2] = {0, 0}, good = 1, named = 0, numbered = 0;
    PyObject *columns = PyDict_New(), *found = NULL;
    if (columns == NULL) {
        return NULL;
    }
    while (good && message.at < message.end) {
        switch (*message.at++) {
        case 0x0A: good = !named++ && take_bytes(&message, &model); break;
        case 0x12: good = !numbered++ && take_bytes(&message, &version); break;
        case 0x1A: good = take_bytes(&message, &column) && put_column(column, most, given[2], columns); break;
        case 0x22: good = times.at == NULL && take_bytes(&message, &times); break;
        case 0x28: good = take_flag(&message, &flags[0]); break;
        case 0x30: good = take_flag(&message, &flags[1]); break;
        default: good = 0;
        }
    }
    if (good && model.at < model.end) {
        PyObject *t = times.at == times.end ? Py_NewRef(Py_None) : words_of(times, NPY_INT64, most);
        PyObject *name = t == NULL ? NULL : text_of(model), *number = name == NULL ? NULL : text_of(version);
        if (number != NULL) {
            found = PyTuple_Pack(6, name, number, columns, t, flags[0] ? Py_True : Py_False, flags[1] ? Py_True : Py_False);
        }
        Py_XDECREF(t);
        Py_XDECREF(name);
        Py_XDECREF(number);
    }
    Py_DECREF(columns);
    if (found == NULL) {
        /* Whatever it is, Python looks at the message again and says what is wrong. */
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            return NULL;
        }
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return found;
}

/* ---- Requests, end to end: serving.together, with the checks of lockstep.request. */

#define LAST_TIME (INT64_C(1) << 53)
#define MOST_TEXT_BYTES 1024

/* A part of a column: what one request has of it. */
typedef struct {
    const char *at; /* NULL: a list */
    PyObject *list;
    int type;
    Py_ssize_t count;
} Part;

/* One of the types of eight bytes goes by the name of int64. */
static int
type_of(PyArrayObject *one)
{
    int type = PyArray_TYPE(one);
    return PyTypeNum_ISSIGNED(type) && PyArray_ITEMSIZE(one) == 8 ? NPY_INT64 : type;
}

/* Whether it is an array or a list that a request may hold: of one dimension, with one value or one for each row. */
static int
is_part(PyObject *given, Py_ssize_t rows, Part *to)
{
    if (PyArray_Check(given)) {
        PyArrayObject *array = (PyArrayObject *)given;
        if (PyArray_NDIM(array) != 1 || !PyArray_ISBEHAVED_RO(array) || !PyArray_IS_C_CONTIGUOUS(array)) {
            return 0;
        }
        *to = (Part){PyArray_DATA(array), NULL, type_of(array), PyArray_DIM(array, 0)};
    }
    else if (PyList_Check(given)) {
        *to = (Part){NULL, given, NPY_OBJECT, PyList_GET_SIZE(given)};
    }
    else {
        return 0;
    }
    return to->count == rows || to->count == 1;
}

static PyObject *
item_of(const Part *part, Py_ssize_t i)
{
    return part->list != NULL ? PyList_GET_ITEM(part->list, i) : ((PyObject *const *)part->at)[i];
}

static double
number_of(const Part *part, Py_ssize_t i)
{
    switch (part->type) {
    case NPY_INT64: return (double)((const int64_t *)part->at)[i];
    case NPY_FLOAT32: return ((const float *)part->at)[i];
    default: return ((const double *)part->at)[i];
    }
}

/* A text that Python would take, without a look at its bytes. */
static int
is_short_text(PyObject *one)
{
    return one != NULL && PyUnicode_CheckExact(one) && PyUnicode_GET_LENGTH(one) * 4 <= MOST_TEXT_BYTES;
}

/* The rows of one request, behind those of the others. 0: Python is to look at it. */
static int
put_part(const Part *part, Py_ssize_t rows, int type, char *to)
{
    Py_ssize_t step = part->count == rows;
    if (type == NPY_OBJECT) {
        for (Py_ssize_t row = 0; row < rows; row++) {
            PyObject *text = part->type == NPY_OBJECT ? item_of(part, row * step) : NULL;
            if (!is_short_text(text)) {
                return 0;
            }
            Py_XSETREF(((PyObject **)to)[row], Py_NewRef(text));
        }
        return 1;
    }
    int is_whole = part->type == NPY_INT64, is_float = part->type == NPY_FLOAT32 || part->type == NPY_FLOAT64;
    if (type == NPY_INT64 ? !is_whole : !is_whole && !is_float) {
        return 0;
    }
    if (type == NPY_INT64) {
        for (Py_ssize_t row = 0; row < rows; row++) {
            ((int64_t *)to)[row] = ((const int64_t *)part->at)[row * step];
        }
        return 1;
    }
    for (Py_ssize_t row = 0; row < rows; row++) {
        double value = number_of(part, row * step);
        if (type == NPY_FLOAT32) {
            float narrow = (float)value;
            ((float *)to)[row] = narrow;
            value = narrow; /* what is beyond float32 is infinity */
        }
        else {
            ((double *)to)[row] = value;
        }
        if (isinf(value)) {
            return 0;
        }
    }
    return 1;
}

/* One column of all requests, `all` of whose rows there are, in this type. NULL without an error: Python is to look. */
static PyObject *
put_together(PyObject *const *values, const Py_ssize_t *lengths, Py_ssize_t requests, Py_ssize_t all, int type)
{
    npy_intp shape = all;
    PyArray_Descr *kind = PyArray_DescrFromType(type);
    PyObject *made = kind == NULL ? NULL : PyArray_Zeros(1, &shape, kind, 0); /* takes `kind` */
    if (made == NULL) {
        return NULL;
    }
    char *to = PyArray_DATA((PyArrayObject *)made);
    for (Py_ssize_t i = 0; i < requests; i++) {
        Part part;
        if (!is_part(values[i], lengths[i], &part) || !part.count || !put_part(&part, lengths[i], type, to)) {
            Py_DECREF(made);
            return NULL;
        }
        to += lengths[i] * PyArray_ITEMSIZE((PyArrayObject *)made);
    }
    return made;
}

/* The times of all requests, as the above: whole numbers, from arrays or lists. */
static PyObject *
times_together(PyObject *const *values, const Py_ssize_t *lengths, Py_ssize_t requests, Py_ssize_t all)
{
    npy_intp shape = all;
    PyObject *made = PyArray_SimpleNew(1, &shape, NPY_INT64);
    if (made == NULL) {
        return NULL;
    }
    int64_t *to = PyArray_DATA((PyArrayObject *)made);
    for (Py_ssize_t i = 0; i < requests; i++) {
        Part part;
        int good = is_part(values[i], lengths[i], &part) && part.count && (part.list != NULL || part.type == NPY_INT64);
        Py_ssize_t step = good && part.count == lengths[i];
        for (Py_ssize_t row = 0; good && row < lengths[i]; row++) {
            if (part.list == NULL) {
                *to = ((const int64_t *)part.at)[row * step];
            }
            else {
                PyObject *number = PyList_GET_ITEM(part.list, row * step);
                int beyond = 1;
                *to = PyLong_CheckExact(number) ? PyLong_AsLongLongAndOverflow(number, &beyond) : 0;
                good = !beyond;
            }
            good = good && *to <= LAST_TIME && *to >= -LAST_TIME;
            to++;
        }
        if (!good) {
            Py_DECREF(made);
            return NULL;
        }
    }
    return made;
}

/* The columns of a plan: of each its name, its type, and whether it may be left out. -1: an error, 0: Python's. */
static int
put_columns(PyObject *wanted, PyObject *requests, PyObject **values, const Py_ssize_t *lengths, Py_ssize_t all, PyObject *to)
{
    Py_ssize_t count = PyList_GET_SIZE(requests), taken = 0;
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(wanted); place++) {
        PyObject *name;
        int type, optional;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(wanted, place), "Uip;wanted: name, type, optional", &name, &type, &optional)) {
            return -1;
        }
        if (type != NPY_INT64 && type != NPY_FLOAT32 && type != NPY_FLOAT64 && type != NPY_OBJECT) {
            PyErr_SetString(PyExc_TypeError, "a column is int64, float32, float64 or object");
            return -1;
        }
        for (Py_ssize_t i = 0; i < count; i++) {
            values[i] = PyDict_GetItemWithError(PyList_GET_ITEM(requests, i), name);
            if (values[i] == NULL && PyErr_Occurred()) {
                return -1;
            }
            if ((values[i] == NULL) != (values[0] == NULL)) {
                return 0;
            }
        }
        if (values[0] == NULL) {
            if (!optional) {
                return 0;
            }
            continue;
        }
        taken++;
        PyObject *whole = put_together(values, lengths, count, all, type);
        if (whole == NULL) {
            return PyErr_Occurred() ? -1 : 0;
        }
        int kept = PyDict_SetItem(to, name, whole);
        Py_DECREF(whole);
        if (kept < 0) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyDict_GET_SIZE(PyList_GET_ITEM(requests, i)) != taken) {
            return 0; /* one names a column that the plan does not know */
        }
    }
    return 1;
}

/* The lengths of all requests; their sum, or -1 with an error, or 0 where one is not from 1 to the most. */
static Py_ssize_t
lengths_of(PyObject *numbers, Py_ssize_t most, Py_ssize_t *to)
{
    Py_ssize_t all = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(numbers); i++) {
        to[i] = PyLong_AsSsize_t(PyList_GET_ITEM(numbers, i));
        if (to[i] == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (to[i] < 1 || to[i] > most || to[i] > PY_SSIZE_T_MAX / 8 - all) {
            return 0;
        }
        all += to[i];
    }
    return all;
}

PyObject *
collect(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 5, "collect")) {
        return NULL;
    }
    PyObject *wanted = given[0], *requests = given[1], *times = given[2], *numbers = given[3];
    Py_ssize_t most = PyLong_AsSsize_t(given[4]), all = 0;
    int good = PyTuple_Check(wanted) && PyList_Check(requests) && PyList_Check(times) && PyList_Check(numbers) &&
               PyList_GET_SIZE(requests) > 0 && PyList_GET_SIZE(requests) == PyList_GET_SIZE(times) &&
               PyList_GET_SIZE(requests) == PyList_GET_SIZE(numbers);
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(wanted); i++) {
        good = PyTuple_Check(PyTuple_GET_ITEM(wanted, i));
    }
    if (!good && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "collect takes a tuple of tuples, and lists of one length");
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(requests); i++) {
        if (!PyDict_Check(PyList_GET_ITEM(requests, i))) {
            Py_RETURN_NONE;
        }
    }
    size_t each = (size_t)PyList_GET_SIZE(requests);
    Py_ssize_t small_lengths[64], *lengths = small_lengths;
    PyObject *small_values[64], **values = small_values, *columns = PyDict_New(), *t = NULL, *found = NULL;
    if (each > 64) {
        lengths = PyMem_Malloc(each * sizeof *lengths);
        values = PyMem_Malloc(each * sizeof *values);
    }
    if (columns == NULL || lengths == NULL || values == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    all = lengths_of(numbers, most, lengths);
    if (all > 0 && put_columns(wanted, requests, values, lengths, all, columns) > 0) {
        for (size_t i = 0; i < each; i++) {
            values[i] = PyList_GET_ITEM(times, i);
        }
        t = times_together(values, lengths, (Py_ssize_t)each, all);
    }
    if (t != NULL) {
        found = PyTuple_Pack(2, columns, t);
    }
    else if (!PyErr_Occurred()) {
        found = Py_NewRef(Py_None);
    }
done:
    if (lengths != small_lengths) {
        PyMem_Free(lengths);
    }
    if (values != small_values) {
        PyMem_Free(values);
    }
    Py_XDECREF(t);
    Py_XDECREF(columns);
    return found;
}
