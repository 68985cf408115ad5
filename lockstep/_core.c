/* The hot path of a scorer in C: requests into columns, join keys into keys, packed rows into values.

   Everything here exists in Python too (serving/convert.py, together.py, unique_keys.py, row_stack.py with gathers.py,
   resolve.py, scoring.py, histogram.py), and the tests compare the two value for value. What is unusual is left to
   Python, which knows every case and has the words for it: `parse` answers None, `join` too, `keys` is not asked for
   texts, `gather` names the views that must be read in another way.

   Bytes come from strangers: each is looked at only after its place was compared with the end. */

#include "_core.h"

#if PY_BIG_ENDIAN
#error "rows are little-endian, and so must be the machine; without this module everything works, slower"
#endif

/* lockstep.status.Status and Rung; test_compiled.py compares them. */
enum { PRESENT = 0, ABSENT = 1, NOT_FOUND = 2, STALE = 3, FUTURE = 4, UNREACHABLE = 6 };
enum { FRESH = 0, DEFAULTS = 1, ALL_DEFAULTS = 2 };

/* ---- Keys: lockstep.keys says how they look. */

#define MOST_VARINT 10

static unsigned char *
put_number(unsigned char *to, int64_t value)
{
    uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (rest > 0x7F) {
        *to++ = (unsigned char)(rest | 0x80);
        rest >>= 7;
    }
    *to++ = (unsigned char)rest;
    return to;
}

static uint64_t
mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t seed = 0; /* of the table below: a stranger who knew it could make all keys of a request collide */

#define MOST_JOIN_KEYS 16

static PyObject *
keys(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 4, "keys")) {
        return NULL;
    }
    char *prefix;
    Py_ssize_t prefix_size;
    if (PyBytes_AsStringAndSize(given[0], &prefix, &prefix_size) < 0) {
        return NULL;
    }
    PyObject *columns = given[1];
    Py_ssize_t first = PyLong_AsSsize_t(given[2]);
    if (first == -1 && PyErr_Occurred()) {
        return NULL;
    }
    PyArrayObject *places = array(given[3], NPY_INT64, 1, TO_WRITE, "places");
    if (places == NULL) {
        return NULL;
    }
    Py_ssize_t rows = PyArray_DIM(places, 0), width = PyTuple_Check(columns) ? PyTuple_GET_SIZE(columns) : 0;
    if (width < 1 || width > MOST_JOIN_KEYS) {
        PyErr_SetString(PyExc_TypeError, "columns is a tuple of 1 to 16 arrays");
        return NULL;
    }
    const int64_t *values[MOST_JOIN_KEYS];
    for (Py_ssize_t i = 0; i < width; i++) {
        PyArrayObject *column = array(PyTuple_GET_ITEM(columns, i), NPY_INT64, 1, TO_READ, "a column");
        if (column == NULL) {
            return NULL;
        }
        if (PyArray_DIM(column, 0) != rows) {
            PyErr_SetString(PyExc_ValueError, "the columns and the places are not of one length");
            return NULL;
        }
        values[i] = PyArray_DATA(column);
    }
    int64_t *place_of = PyArray_DATA(places);
    size_t room = 16;
    while (room < 2 * (size_t)rows) {
        room *= 2;
    }
    Py_ssize_t small[256], *table = small; /* the row that first had a key, plus 1; 0: free */
    if (room > 256 && (table = PyMem_Malloc(room * sizeof *table)) == NULL) {
        return PyErr_NoMemory();
    }
    memset(table, 0, room * sizeof *table);
    char stack_key[512], *key = stack_key;
    size_t most = (size_t)prefix_size + (size_t)width * MOST_VARINT;
    PyObject *found = PyList_New(0);
    if (found == NULL || (most > sizeof stack_key && (key = PyMem_Malloc(most)) == NULL)) {
        goto failed;
    }
    memcpy(key, prefix, (size_t)prefix_size);
    for (Py_ssize_t row = 0; row < rows; row++) {
        uint64_t hash = seed;
        for (Py_ssize_t i = 0; i < width; i++) {
            hash = mixed(hash + (uint64_t)values[i][row]);
        }
        size_t at = hash & (room - 1);
        while (table[at]) {
            Py_ssize_t other = table[at] - 1, i = 0;
            while (i < width && values[i][other] == values[i][row]) {
                i++;
            }
            if (i == width) {
                break;
            }
            at = (at + 1) & (room - 1);
        }
        if (table[at]) {
            place_of[row] = place_of[table[at] - 1];
            continue;
        }
        table[at] = row + 1;
        place_of[row] = first + PyList_GET_SIZE(found);
        unsigned char *end = (unsigned char *)key + prefix_size;
        for (Py_ssize_t i = 0; i < width; i++) {
            end = put_number(end, values[i][row]);
        }
        PyObject *whole = PyBytes_FromStringAndSize(key, (char *)end - key);
        if (whole == NULL || PyList_Append(found, whole) < 0) {
            Py_XDECREF(whole);
            goto failed;
        }
        Py_DECREF(whole);
    }
    goto done;
failed:
    Py_CLEAR(found);
    if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
done:
    if (table != small) {
        PyMem_Free(table);
    }
    if (key != stack_key) {
        PyMem_Free(key);
    }
    return found;
}

/* ---- Packed rows: lockstep.schema says how they look, lockstep.checksum how they are summed. */

enum { SUM = 0, SUMMED = 4, FINGERPRINT = 5, EVENT = 13, HEAD = 21 };

/* A line of the readers' table. */
enum { R_WIDTH, R_FINGERPRINT, R_CREATED, R_ENDS, R_TEXTS, R_BOOLS_AT, R_BOOLS, R_VIEW, R_FIELDS };
/* A line of the columns' table. */
enum { C_READER, C_TYPE, C_OFFSET, C_NULL_BYTE, C_NULL_BIT, C_GROUP, C_ROW, C_COLUMN, C_FIELDS };
/* C_TYPE: what is stored. For a text the offset is its place among the fields with a payload. */
enum { T_INT64, T_FLOAT64, T_INT32, T_FLOAT32, T_BOOL, T_TEXT };

#define KNOWN_KEYS 128
static uint64_t sum_keys[KNOWN_KEYS];

static uint64_t
sum_key(size_t i)
{
    return i < KNOWN_KEYS ? sum_keys[i] : mixed(((uint64_t)i + 1) * 0x9E3779B97F4A7C15u);
}

static uint32_t
sum_of(const char *bytes, size_t size)
{
    uint64_t total = sum_key(0) + (uint64_t)size * sum_key(1);
    size_t words = size / 4;
    for (size_t i = 0; i < words; i++) {
        uint32_t word;
        memcpy(&word, bytes + 4 * i, 4);
        total += word * sum_key(i + 2);
    }
    if (size % 4) {
        uint32_t word = 0;
        memcpy(&word, bytes + 4 * words, size % 4);
        total += word * sum_key(words + 2);
    }
    return (uint32_t)(total >> 32);
}

static uint32_t
end_of(const char *row, const int64_t *reader, int64_t text)
{
    uint32_t end;
    memcpy(&end, row + reader[R_ENDS] + 4 * text, 4);
    return end;
}

/* Whether it is as long as it says, of the schema that was expected, undamaged, and holds no impossible boolean. */
static int
is_sound(const char *row, size_t size, const int64_t *reader)
{
    size_t width = (size_t)reader[R_WIDTH];
    if (size < width) {
        return 0;
    }
    uint64_t fingerprint;
    memcpy(&fingerprint, row + FINGERPRINT, 8);
    if (fingerprint != (uint64_t)reader[R_FINGERPRINT]) {
        return 0;
    }
    uint32_t last = 0;
    for (int64_t text = 0; text < reader[R_TEXTS]; text++) {
        uint32_t end = end_of(row, reader, text);
        if (end < last) {
            return 0;
        }
        last = end;
    }
    if (size - width != last) {
        return 0;
    }
    for (int64_t i = 0; i < reader[R_BOOLS]; i++) {
        if ((unsigned char)row[reader[R_BOOLS_AT] + i] > 1) {
            return 0;
        }
    }
    uint32_t sum;
    memcpy(&sum, row + SUM, 4);
    return sum == sum_of(row + SUMMED, size - SUMMED);
}

/* One column of numbers: as stored, to as served. NaN is NULL, and says so among the states. */
#define MOVE(STORED, SERVED, IS_FLOAT)                                                                                 \
    for (Py_ssize_t i = 0; i < rows; i++) {                                                                            \
        const char *row = row_of[place_of[i]];                                                                         \
        if (row != NULL) {                                                                                             \
            STORED value;                                                                                              \
            memcpy(&value, row + offset, sizeof value);                                                                \
            to[i] = (SERVED)value;                                                                                     \
            if (IS_FLOAT && value != value) {                                                                          \
                states[i] = ABSENT;                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
    }

#define MOVE_TO(SERVED)                                                                                                \
    do {                                                                                                               \
        SERVED *to = (SERVED *)PyArray_GETPTR2(values, line[C_ROW], 0);                                                \
        switch (line[C_TYPE]) {                                                                                        \
        case T_INT64: MOVE(int64_t, SERVED, 0) break;                                                                  \
        case T_FLOAT64: MOVE(double, SERVED, 1) break;                                                                 \
        case T_INT32: MOVE(int32_t, SERVED, 0) break;                                                                  \
        case T_FLOAT32: MOVE(float, SERVED, 1) break;                                                                  \
        case T_BOOL: MOVE(uint8_t, SERVED, 0) break;                                                                   \
        }                                                                                                              \
    } while (0)

static void
move_numbers(const int64_t *line, PyArrayObject *values, npy_int8 *states, const char *const *row_of,
             const int64_t *place_of, Py_ssize_t rows)
{
    int64_t offset = line[C_OFFSET];
    switch (PyArray_TYPE(values)) {
    case NPY_FLOAT32: MOVE_TO(float); break;
    case NPY_FLOAT64: MOVE_TO(double); break;
    case NPY_INT64: MOVE_TO(int64_t); break;
    }
}

/* The texts of a column, each made once for the rows that share it. 0: one is not UTF-8; -1: no memory. */
static int
move_texts(const int64_t *line, const int64_t *reader, PyArrayObject *values, const char *const *row_of, Py_ssize_t start,
           Py_ssize_t stop, const int64_t *place_of, Py_ssize_t rows)
{
    PyObject **to = (PyObject **)PyArray_GETPTR2(values, line[C_ROW], 0);
    PyObject **texts = PyMem_Calloc((size_t)(stop - start + 1), sizeof *texts);
    PyObject *none = PyUnicode_New(0, 0);
    int done = texts == NULL || none == NULL ? -1 : 1;
    for (Py_ssize_t i = start; done == 1 && i < stop; i++) {
        const char *row = row_of[i];
        if (row != NULL) {
            uint32_t from = line[C_OFFSET] ? end_of(row, reader, line[C_OFFSET] - 1) : 0;
            uint32_t until = end_of(row, reader, line[C_OFFSET]);
            texts[i - start] = PyUnicode_DecodeUTF8(row + reader[R_WIDTH] + from, until - from, "strict");
            if (texts[i - start] == NULL) {
                done = PyErr_ExceptionMatches(PyExc_UnicodeDecodeError) ? 0 : -1;
                if (!done) {
                    PyErr_Clear();
                }
            }
        }
    }
    for (Py_ssize_t i = 0; done == 1 && i < rows; i++) {
        PyObject *text = texts[place_of[i] - start];
        Py_XSETREF(to[i], Py_NewRef(text == NULL ? none : text));
    }
    for (Py_ssize_t i = 0; texts != NULL && i < stop - start; i++) {
        Py_XDECREF(texts[i]);
    }
    PyMem_Free(texts);
    Py_XDECREF(none);
    if (done < 0 && !PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    return done;
}

/* Whether a column's values lie within the rows of its view, and have a place in the arrays. */
static int
line_fits(const int64_t *line, const int64_t *reader, PyArrayObject *values, Py_ssize_t rows, npy_intp columns)
{
    static const int sizes[] = {8, 8, 4, 4, 1};
    int type = PyArray_TYPE(values);
    int is_text = line[C_TYPE] == T_TEXT;
    int64_t null_byte = line[C_NULL_BYTE], offset = line[C_OFFSET];
    int placed = is_text ? offset >= 0 && offset < reader[R_TEXTS]
                         : line[C_TYPE] >= 0 && line[C_TYPE] < T_TEXT && offset >= HEAD &&
                               offset <= reader[R_WIDTH] - sizes[line[C_TYPE]];
    int is_float = line[C_TYPE] == T_FLOAT64 || line[C_TYPE] == T_FLOAT32;
    int taken = is_text ? type == NPY_OBJECT : type == NPY_FLOAT32 || type == NPY_FLOAT64 || (type == NPY_INT64 && !is_float);
    return placed && taken && PyArray_NDIM(values) == 2 && PyArray_DIM(values, 1) == rows && line[C_ROW] >= 0 &&
           line[C_ROW] < PyArray_DIM(values, 0) && line[C_COLUMN] >= 0 && line[C_COLUMN] < columns && null_byte >= HEAD &&
           null_byte < reader[R_WIDTH] && line[C_NULL_BIT] >= 0 && line[C_NULL_BIT] < 8;
}

static int
reader_fits(const int64_t *reader, npy_intp views)
{
    int64_t width = reader[R_WIDTH];
    return width >= HEAD && reader[R_VIEW] >= 0 && reader[R_VIEW] < views && reader[R_CREATED] <= width - 8 &&
           reader[R_TEXTS] >= 0 && reader[R_BOOLS] >= 0 && reader[R_TEXTS] <= width / 4 && reader[R_BOOLS] <= width &&
           (!reader[R_TEXTS] || (reader[R_ENDS] >= HEAD && reader[R_ENDS] <= width - 4 * reader[R_TEXTS])) &&
           (!reader[R_BOOLS] || (reader[R_BOOLS_AT] >= HEAD && reader[R_BOOLS_AT] <= width - reader[R_BOOLS]));
}

static PyObject *
gather(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 11, "gather")) {
        return NULL;
    }
    PyArrayObject *readers = array(given[0], NPY_INT64, 2, TO_READ, "readers");
    PyArrayObject *columns = array(given[1], NPY_INT64, 2, TO_READ, "columns");
    PyObject *answers = given[2], *groups = given[9];
    PyArrayObject *ends = array(given[3], NPY_INT64, 1, TO_READ, "ends");
    PyArrayObject *places = array(given[4], NPY_INT64, 2, TO_READ, "places");
    PyArrayObject *found = array(given[5], NPY_INT8, 2, TO_WRITE, "found");
    PyArrayObject *event = array(given[6], NPY_INT64, 2, TO_WRITE, "event_us");
    PyArrayObject *created = given[7] == Py_None ? NULL : array(given[7], NPY_INT64, 2, TO_WRITE, "created_us");
    PyArrayObject *states = array(given[8], NPY_INT8, 2, TO_WRITE, "states");
    PyArrayObject *strange = array(given[10], NPY_BOOL, 1, TO_WRITE, "strange");
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (!PyList_Check(answers) || !PyTuple_Check(groups)) {
        PyErr_SetString(PyExc_TypeError, "answers is a list, and values a tuple");
        return NULL;
    }
    npy_intp read = PyArray_DIM(readers, 0), views = PyArray_DIM(found, 0), rows = PyArray_DIM(places, 1);
    npy_intp lines = PyArray_DIM(columns, 0), asked = PyList_GET_SIZE(answers);
    int fit = is_table(readers, read, R_FIELDS) && is_table(columns, lines, C_FIELDS) && is_long(ends, read) &&
              is_table(places, read, rows) && is_long(strange, read) && is_table(found, views, rows) &&
              is_table(event, views, rows) && PyArray_DIM(states, 1) == rows &&
              (created == NULL || is_table(created, views, rows));
    const int64_t *reader_of = PyArray_DATA(readers), *line_of = PyArray_DATA(columns), *end_of_part = PyArray_DATA(ends);
    const int64_t *all_places = PyArray_DATA(places);
    npy_bool *is_strange = PyArray_DATA(strange);
    for (npy_intp i = 0; fit && i < read; i++) {
        int64_t start = i ? end_of_part[i - 1] : 0;
        fit = reader_fits(reader_of + i * R_FIELDS, views) && end_of_part[i] >= start && end_of_part[i] <= asked;
        for (npy_intp row = 0; fit && row < rows; row++) {
            fit = all_places[i * rows + row] >= start && all_places[i * rows + row] < end_of_part[i];
        }
    }
    for (npy_intp i = 0; fit && i < lines; i++) {
        const int64_t *line = line_of + i * C_FIELDS;
        fit = line[C_READER] >= 0 && line[C_READER] < read && line[C_GROUP] >= 0 && line[C_GROUP] < PyTuple_GET_SIZE(groups) &&
              PyArray_Check(PyTuple_GET_ITEM(groups, line[C_GROUP])) &&
              line_fits(line, reader_of + line[C_READER] * R_FIELDS,
                        (PyArrayObject *)PyTuple_GET_ITEM(groups, line[C_GROUP]), rows, PyArray_DIM(states, 0)) &&
              PyArray_ISCARRAY((PyArrayObject *)PyTuple_GET_ITEM(groups, line[C_GROUP]));
    }
    if (!fit) {
        PyErr_SetString(PyExc_ValueError, "the tables and the arrays do not fit each other");
        return NULL;
    }
    const char **row_of = PyMem_Calloc((size_t)asked + 1, sizeof *row_of);
    if (row_of == NULL) {
        return PyErr_NoMemory();
    }
    /* The rows: where each sound one lies. `answers` keeps the bytes, and nothing below gives the interpreter a turn. */
    for (npy_intp i = 0; i < read; i++) {
        const int64_t *reader = reader_of + i * R_FIELDS;
        for (int64_t at = i ? end_of_part[i - 1] : 0; at < end_of_part[i]; at++) {
            PyObject *answer = PyList_GET_ITEM(answers, at);
            if (answer == Py_None) {
                continue;
            }
            if (!PyBytes_Check(answer)) {
                PyErr_SetString(PyExc_TypeError, "an answer is bytes, or None");
                PyMem_Free(row_of);
                return NULL;
            }
            size_t size = (size_t)PyBytes_GET_SIZE(answer);
            if (size && is_sound(PyBytes_AS_STRING(answer), size, reader)) {
                row_of[at] = PyBytes_AS_STRING(answer);
            }
            else if (size) {
                is_strange[i] = 1;
            }
        }
    }
    for (npy_intp i = 0; i < read; i++) {
        const int64_t *reader = reader_of + i * R_FIELDS, *place_of = all_places + i * rows;
        npy_int8 *found_here = PyArray_GETPTR2(found, reader[R_VIEW], 0);
        int64_t *event_here = PyArray_GETPTR2(event, reader[R_VIEW], 0);
        for (npy_intp row = 0; row < rows; row++) {
            const char *bytes = row_of[place_of[row]];
            found_here[row] = bytes == NULL ? NOT_FOUND : PRESENT;
            if (bytes != NULL) {
                memcpy(event_here + row, bytes + EVENT, 8);
            }
        }
        if (created != NULL && reader[R_CREATED] >= HEAD) {
            int64_t *created_here = PyArray_GETPTR2(created, reader[R_VIEW], 0);
            for (npy_intp row = 0; row < rows; row++) {
                const char *bytes = row_of[place_of[row]];
                if (bytes != NULL) {
                    memcpy(created_here + row, bytes + reader[R_CREATED], 8);
                }
            }
        }
    }
    for (npy_intp i = 0; i < lines; i++) {
        const int64_t *line = line_of + i * C_FIELDS, *reader = reader_of + line[C_READER] * R_FIELDS;
        const int64_t *place_of = all_places + line[C_READER] * rows;
        PyArrayObject *values = (PyArrayObject *)PyTuple_GET_ITEM(groups, line[C_GROUP]);
        npy_int8 *states_here = PyArray_GETPTR2(states, line[C_COLUMN], 0);
        for (npy_intp row = 0; row < rows; row++) {
            const char *bytes = row_of[place_of[row]];
            states_here[row] = bytes != NULL && (bytes[line[C_NULL_BYTE]] >> line[C_NULL_BIT] & 1) ? ABSENT : PRESENT;
        }
        if (line[C_TYPE] != T_TEXT) {
            move_numbers(line, values, states_here, row_of, place_of, rows);
            continue;
        }
        int64_t start = line[C_READER] ? end_of_part[line[C_READER] - 1] : 0;
        int done = move_texts(line, reader, values, row_of, start, end_of_part[line[C_READER]], place_of, rows);
        if (done < 0) {
            PyMem_Free(row_of);
            return NULL;
        }
        if (!done) {
            is_strange[line[C_READER]] = 1;
        }
    }
    PyMem_Free(row_of);
    Py_RETURN_NONE;
}

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

static PyObject *
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

/* ---- Requests, end to end: serving.together. */

/* The length that a request has; below 0 with an error. Nothing but an int is asked: the answer is always the same. */
static Py_ssize_t
length_at(PyObject *lengths, Py_ssize_t place)
{
    PyObject *number = PyList_GET_ITEM(lengths, place);
    Py_ssize_t length = PyLong_CheckExact(number) ? PyLong_AsSsize_t(number) : -1;
    if (length < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "a length is an int from 0");
    }
    return length;
}

static PyObject *
join(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 2, "join")) {
        return NULL;
    }
    PyObject *parts = given[0], *lengths = given[1];
    if (!PyList_Check(parts) || !PyList_Check(lengths) || PyList_GET_SIZE(parts) != PyList_GET_SIZE(lengths)) {
        PyErr_SetString(PyExc_TypeError, "parts and lengths are lists of one length");
        return NULL;
    }
    Py_ssize_t requests = PyList_GET_SIZE(parts), rows = 0;
    int type = NPY_NOTYPE;
    for (Py_ssize_t i = 0; i < requests; i++) {
        PyArrayObject *part = (PyArrayObject *)PyList_GET_ITEM(parts, i);
        Py_ssize_t length = length_at(lengths, i);
        if (length < 0) {
            return NULL;
        }
        if (!PyArray_Check(part) || PyArray_NDIM(part) != 1 || !PyArray_ISBEHAVED_RO(part) || !PyArray_IS_C_CONTIGUOUS(part)) {
            Py_RETURN_NONE;
        }
        if (type == NPY_NOTYPE) {
            type = PyArray_TYPE(part);
        }
        if (PyArray_TYPE(part) != type || (PyArray_DIM(part, 0) != length && PyArray_DIM(part, 0) != 1) ||
            length > PY_SSIZE_T_MAX / 8 - rows) {
            Py_RETURN_NONE;
        }
        rows += length;
    }
    if (type != NPY_INT64 && type != NPY_FLOAT64) {
        Py_RETURN_NONE;
    }
    if (requests == 1 && PyArray_DIM((PyArrayObject *)PyList_GET_ITEM(parts, 0), 0) == rows) {
        return Py_NewRef(PyList_GET_ITEM(parts, 0));
    }
    npy_intp shape = rows;
    PyObject *made = PyArray_SimpleNew(1, &shape, type);
    if (made == NULL) {
        return NULL;
    }
    int64_t *to = PyArray_DATA((PyArrayObject *)made); /* both types have eight bytes, which are only moved */
    for (Py_ssize_t i = 0; i < requests; i++) {
        PyArrayObject *part = (PyArrayObject *)PyList_GET_ITEM(parts, i);
        Py_ssize_t length = length_at(lengths, i), step = PyArray_DIM(part, 0) == length;
        const int64_t *from = PyArray_DATA(part);
        for (Py_ssize_t row = 0; row < length; row++) {
            *to++ = from[row * step];
        }
    }
    return made;
}

/* ---- What was found, judged: lockstep.resolve. */

/* Of one view, the status of each of its rows: found, and whether it is usable at its t. */
static void
judge(const npy_int8 *found, const int64_t *event, const int64_t *created, const int64_t *t, int64_t ttl, npy_intp rows,
      npy_int8 *to)
{
    for (npy_intp row = 0; row < rows; row++) {
        to[row] = found[row];
        if (found[row] == PRESENT) {
            int64_t age = (int64_t)((uint64_t)t[row] - (uint64_t)event[row]);
            if (event[row] > t[row] || (created != NULL && created[row] > t[row])) {
                to[row] = FUTURE;
            }
            else if (age > ttl) {
                to[row] = STALE;
            }
        }
    }
}

enum { UNUSABLE = 1, REACHED = 2 };

static PyObject *
settle(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 11, "settle")) {
        return NULL;
    }
    PyArrayObject *found = array(given[0], NPY_INT8, 2, TO_READ, "found");
    PyArrayObject *event = array(given[1], NPY_INT64, 2, TO_READ, "event_us");
    PyArrayObject *created = given[2] == Py_None ? NULL : array(given[2], NPY_INT64, 2, TO_READ, "created_us");
    PyArrayObject *states = array(given[3], NPY_INT8, 2, TO_READ, "states");
    PyArrayObject *times = array(given[4], NPY_INT64, 1, TO_READ, "t");
    PyArrayObject *ttls = array(given[5], NPY_INT64, 2, TO_READ, "ttl_us");
    PyArrayObject *views = array(given[6], NPY_INT64, 1, TO_READ, "view_of");
    PyArrayObject *defaults = array(given[7], NPY_BOOL, 2, TO_READ, "has_default");
    PyArrayObject *statuses = array(given[8], NPY_INT8, 2, TO_WRITE, "status");
    PyArrayObject *replaced = array(given[9], NPY_BOOL, 2, TO_WRITE, "replaced");
    PyArrayObject *rungs = array(given[10], NPY_INT8, 1, TO_WRITE, "rungs");
    if (PyErr_Occurred()) {
        return NULL;
    }
    npy_intp width = PyArray_DIM(found, 0), rows = PyArray_DIM(found, 1), columns = PyArray_DIM(states, 0);
    const int64_t *view_of = PyArray_DATA(views);
    if (!is_table(event, width, rows) || (created != NULL && !is_table(created, width, rows)) ||
        !is_table(states, columns, rows) || !is_long(times, rows) || !is_table(ttls, width, 1) || !is_long(views, columns) ||
        !are_places(views, width) || !is_table(defaults, columns, 1) || !is_table(statuses, columns, rows) ||
        !is_table(replaced, columns, rows) || !is_long(rungs, rows)) {
        return unfit();
    }
    npy_int8 small[1024], *judged = small;
    size_t size = (size_t)(width * rows);
    if (size > sizeof small && (judged = PyMem_Malloc(size)) == NULL) {
        return PyErr_NoMemory();
    }
    for (npy_intp i = 0; i < width; i++) {
        judge(PyArray_GETPTR2(found, i, 0), PyArray_GETPTR2(event, i, 0),
              created == NULL ? NULL : PyArray_GETPTR2(created, i, 0), PyArray_DATA(times),
              *(const int64_t *)PyArray_GETPTR2(ttls, i, 0), rows, judged + i * rows);
    }
    npy_int8 *rung = PyArray_DATA(rungs);
    memset(rung, 0, (size_t)rows);
    npy_intp absent = 0;
    for (npy_intp i = 0; i < columns; i++) {
        const npy_int8 *of_row = judged + view_of[i] * rows, *state = PyArray_GETPTR2(states, i, 0);
        npy_int8 *status = PyArray_GETPTR2(statuses, i, 0);
        npy_bool *is_replaced = PyArray_GETPTR2(replaced, i, 0), has_default = *(npy_bool *)PyArray_GETPTR2(defaults, i, 0);
        for (npy_intp row = 0; row < rows; row++) {
            npy_int8 found_here = of_row[row] == PRESENT ? state[row] : of_row[row];
            status[row] = found_here;
            absent += found_here != PRESENT;
            is_replaced[row] = has_default && found_here != PRESENT;
            rung[row] |= (npy_int8)((found_here > ABSENT ? UNUSABLE : 0) | (found_here != UNREACHABLE ? REACHED : 0));
        }
    }
    for (npy_intp row = 0; row < rows; row++) {
        int all_lost = columns && !(rung[row] & REACHED);
        rung[row] = all_lost ? ALL_DEFAULTS : (rung[row] & UNUSABLE ? DEFAULTS : FRESH);
    }
    if (judged != small) {
        PyMem_Free(judged);
    }
    return PyLong_FromSsize_t(absent);
}

static PyObject *
fill(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 4, "fill")) {
        return NULL;
    }
    if (!PyArray_Check(given[0])) {
        PyErr_SetString(PyExc_TypeError, "values is not the array that was expected");
        return NULL;
    }
    int type = PyArray_TYPE((PyArrayObject *)given[0]);
    if (type != NPY_OBJECT && !PyTypeNum_ISNUMBER(type)) {
        PyErr_SetString(PyExc_TypeError, "values are numbers, or objects");
        return NULL;
    }
    PyArrayObject *values = array(given[0], type, 2, TO_WRITE, "values");
    PyArrayObject *instead = array(given[1], type, 2, TO_READ, "instead");
    PyArrayObject *statuses = array(given[2], NPY_INT8, 2, TO_READ, "status");
    PyArrayObject *places = array(given[3], NPY_INT64, 1, TO_READ, "places");
    if (PyErr_Occurred()) {
        return NULL;
    }
    npy_intp columns = PyArray_DIM(values, 0), rows = PyArray_DIM(values, 1), of_all = PyArray_DIM(statuses, 0);
    const int64_t *place = PyArray_DATA(places);
    if (!is_table(instead, columns, 1) || PyArray_ITEMSIZE(instead) != PyArray_ITEMSIZE(values) ||
        PyArray_DIM(statuses, 1) != rows || !is_long(places, columns) || !are_places(places, of_all)) {
        return unfit();
    }
    size_t size = (size_t)PyArray_ITEMSIZE(values);
    for (npy_intp i = 0; i < columns; i++) {
        const npy_int8 *status = PyArray_GETPTR2(statuses, place[i], 0);
        char *to = PyArray_GETPTR2(values, i, 0);
        const char *from = PyArray_GETPTR2(instead, i, 0);
        for (npy_intp row = 0; row < rows; row++, to += size) {
            if (status[row] == PRESENT) {
                continue;
            }
            if (type == NPY_OBJECT) {
                PyObject *before = *(PyObject **)to;
                *(PyObject **)to = Py_NewRef(*(PyObject *const *)from);
                Py_XDECREF(before);
            }
            else {
                memcpy(to, from, size);
            }
        }
    }
    Py_RETURN_NONE;
}

/* ---- What was found, counted. */

static PyObject *
tally(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 5, "tally")) {
        return NULL;
    }
    PyArrayObject *found = array(given[0], NPY_INT8, 2, TO_READ, "found");
    PyArrayObject *replaced = array(given[1], NPY_BOOL, 2, TO_READ, "replaced");
    PyArrayObject *views = array(given[2], NPY_INT64, 1, TO_READ, "view_of");
    PyArrayObject *lengths = array(given[3], NPY_INT64, 1, TO_READ, "lengths");
    PyArrayObject *counts = array(given[4], NPY_INT64, 3, TO_WRITE, "counts");
    if (PyErr_Occurred()) {
        return NULL;
    }
    npy_intp columns = PyArray_DIM(found, 0), rows = PyArray_DIM(found, 1), requests = PyArray_DIM(lengths, 0);
    npy_intp width = PyArray_DIM(counts, 1), kinds = PyArray_DIM(counts, 2) - 1, left = rows;
    const int64_t *view_of = PyArray_DATA(views), *length_of = PyArray_DATA(lengths);
    int fit = is_table(replaced, columns, rows) && is_long(views, columns) && are_places(views, width) &&
              is_long(counts, requests);
    for (npy_intp i = 0; fit && i < requests; i++) {
        fit = length_of[i] >= 0 && length_of[i] <= left;
        left -= fit ? length_of[i] : 0;
    }
    const npy_int8 *status = PyArray_DATA(found);
    for (npy_intp i = 0; fit && i < columns * rows; i++) {
        fit = status[i] >= 0 && status[i] < kinds;
    }
    if (!fit || left) {
        return unfit();
    }
    const npy_bool *is_replaced = PyArray_DATA(replaced);
    for (npy_intp column = 0; column < columns; column++) {
        for (npy_intp request = 0; request < requests; request++) {
            int64_t *to = PyArray_GETPTR3(counts, request, view_of[column], 0);
            for (int64_t i = 0; i < length_of[request]; i++) {
                to[*status++]++;
                to[kinds] += *is_replaced++;
            }
        }
    }
    Py_RETURN_NONE;
}

/* ---- Values, put into the buckets of histograms: serving.metrics.histogram. */

/* The first bound that the value is within; behind the last one for what is beyond all of them, or no number. */
static npy_intp
bucket_of(const double *bounds, npy_intp count, double value)
{
    npy_intp low = 0, high = value == value ? count : 0;
    if (!high) {
        return count;
    }
    while (low < high) {
        npy_intp middle = low + (high - low) / 2;
        if (bounds[middle] < value) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

static PyObject *
spread(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 5, "spread")) {
        return NULL;
    }
    PyArrayObject *bounds = array(given[0], NPY_FLOAT64, 1, TO_READ, "bounds");
    PyArrayObject *counts = array(given[1], NPY_INT64, 2, TO_WRITE, "counts");
    PyArrayObject *totals = array(given[2], NPY_FLOAT64, 1, TO_WRITE, "totals");
    PyArrayObject *values = array(given[3], NPY_FLOAT64, 2, TO_READ, "values");
    PyArrayObject *where = given[4] == Py_None ? NULL : array(given[4], NPY_BOOL, 2, TO_READ, "where");
    if (PyErr_Occurred()) {
        return NULL;
    }
    npy_intp quantities = PyArray_DIM(values, 0), each = PyArray_DIM(values, 1), known = PyArray_DIM(bounds, 0);
    if (!is_table(counts, quantities, known + 1) || !is_long(totals, quantities) ||
        (where != NULL && !is_table(where, quantities, each))) {
        return unfit();
    }
    const double *bound = PyArray_DATA(bounds), *value = PyArray_DATA(values);
    const npy_bool *chosen = where == NULL ? NULL : PyArray_DATA(where);
    for (npy_intp i = 0; i < quantities; i++) {
        int64_t *to = PyArray_GETPTR2(counts, i, 0);
        double *total = PyArray_GETPTR1(totals, i);
        for (npy_intp place = i * each; place < (i + 1) * each; place++) {
            if (chosen == NULL || chosen[place]) {
                to[bucket_of(bound, known, value[place])]++;
                *total += value[place];
            }
        }
    }
    Py_RETURN_NONE;
}

/* ---- The module. */

static PyMethodDef functions[] = {
    {"fill", (PyCFunction)(void (*)(void))fill, METH_FASTCALL,
     "fill(values, instead, status, places)\n\n"
     "Put what stands instead wherever a column's status is not PRESENT."},
    {"gather", (PyCFunction)(void (*)(void))gather, METH_FASTCALL,
     "gather(readers, columns, answers, ends, places, found, event_us, created_us, states, values, strange)\n\n"
     "Check packed rows and put what they hold into the arrays; lockstep.compiled says what they are."},
    {"join", (PyCFunction)(void (*)(void))join, METH_FASTCALL,
     "join(parts, lengths)\n\n"
     "Arrays of int64 or float64 end to end, each as long as it should be, those of one value repeated; None for others."},
    {"keys", (PyCFunction)(void (*)(void))keys, METH_FASTCALL,
     "keys(prefix, columns, first, places)\n\n"
     "The distinct keys of a view, in the order in which they come; places[i] becomes first + the place of row i's key."},
    {"link_trees", (PyCFunction)(void (*)(void))link_trees, METH_FASTCALL,
     "link_trees(columns, steps, values, missing, base)\n\n"
     "Decision trees for sum_trees; lockstep.trees says what the arrays are."},
    {"parse", (PyCFunction)(void (*)(void))parse, METH_FASTCALL,
     "parse(message, most, texts)\n\n"
     "Model, version, columns, t or None, explain and strict of a PredictRequest with at most so many values in a column;\n"
     "None where it holds anything else, or anything is wrong. `texts` is the class of a list of texts."},
    {"settle", (PyCFunction)(void (*)(void))settle, METH_FASTCALL,
     "settle(found, event_us, created_us, states, t, ttl_us, view_of, has_default, status, replaced, rungs)\n\n"
     "The status of every value, whether its default takes its place, and the rung of every row."},
    {"spread", (PyCFunction)(void (*)(void))spread, METH_FASTCALL,
     "spread(bounds, counts, totals, values, where)\n\n"
     "Count values by the bound that they are within, those where it is true, and add them up."},
    {"sum_trees", (PyCFunction)(void (*)(void))sum_trees, METH_FASTCALL,
     "sum_trees(trees, features)\n\n"
     "Add up the leaves that every row reaches."},
    {"tally", (PyCFunction)(void (*)(void))tally, METH_FASTCALL,
     "tally(found, replaced, view_of, lengths, counts)\n\n"
     "Add up the statuses of each request and view, and how many values were replaced."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "lockstep._core", "The hot path of a scorer in C; lockstep.compiled is its face.", -1, functions,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    import_array();
    for (size_t i = 0; i < KNOWN_KEYS; i++) {
        sum_keys[i] = mixed(((uint64_t)i + 1) * 0x9E3779B97F4A7C15u);
    }
    PyObject *random = PyImport_ImportModule("os");
    PyObject *bytes = random == NULL ? NULL : PyObject_CallMethod(random, "urandom", "i", (int)sizeof seed);
    Py_XDECREF(random);
    if (bytes == NULL) {
        return NULL;
    }
    memcpy(&seed, PyBytes_AS_STRING(bytes), sizeof seed);
    Py_DECREF(bytes);
    return PyModule_Create(&module);
}
