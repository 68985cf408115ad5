/* The hot path of a scorer in C: join keys into keys, packed rows into values, values judged and counted. Requests into
   columns are in _requests.c, trees in _trees.c.

   Everything here exists in Python too (unique_keys.py, row_stack.py with gathers.py, resolve.py, scoring.py,
   histogram.py, graph.py), and the tests compare the two value for value. What is unusual is left to Python, which knows
   every case and has the words for it: `ask` and `beside` answer None, `gather` names the views that must be read in
   another way.

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
put_varint(unsigned char *to, uint64_t rest)
{
    while (rest > 0x7F) {
        *to++ = (unsigned char)(rest | 0x80);
        rest >>= 7;
    }
    *to++ = (unsigned char)rest;
    return to;
}

static unsigned char *
put_number(unsigned char *to, int64_t value)
{
    return put_varint(to, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
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

/* One column of a view's join keys: numbers, or texts. */
typedef struct {
    const int64_t *numbers;
    PyObject *const *texts;
} JoinKey;

/* The distinct keys of a view as they are found. */
typedef struct {
    PyObject *prefix;
    const JoinKey *columns;
    Py_ssize_t width, rows;
    size_t room; /* of the table, a power of two */
    Py_ssize_t *table; /* the row that first had a key, plus 1; 0: free */
    char *key;
    Py_ssize_t key_room;
} Keys;

static int
put_key(PyObject *keys, const char *key, Py_ssize_t size)
{
    PyObject *whole = PyBytes_FromStringAndSize(key, size);
    int done = whole == NULL ? -1 : PyList_Append(keys, whole);
    Py_XDECREF(whole);
    return done;
}

static int
are_same(const Keys *view, Py_ssize_t one, Py_ssize_t other)
{
    for (Py_ssize_t i = 0; i < view->width; i++) {
        const JoinKey *column = view->columns + i;
        if (column->numbers != NULL ? column->numbers[one] != column->numbers[other]
                                    : PyUnicode_Compare(column->texts[one], column->texts[other]) != 0) {
            return 0;
        }
    }
    return 1;
}

/* Python's own hash of a text is seeded too. */
static uint64_t
hash_of_row(const Keys *view, Py_ssize_t row)
{
    uint64_t hash = seed;
    for (Py_ssize_t i = 0; i < view->width; i++) {
        const JoinKey *column = view->columns + i;
        hash = mixed(hash + (column->numbers != NULL ? (uint64_t)column->numbers[row]
                                                     : (uint64_t)PyObject_Hash(column->texts[row])));
    }
    return hash;
}

/* The key of a row: its length, with its bytes in `view->key`. -1 with an error, such as a text that has no UTF-8. */
static Py_ssize_t
write_key(Keys *view, Py_ssize_t row)
{
    Py_ssize_t size = PyBytes_GET_SIZE(view->prefix);
    for (Py_ssize_t i = 0; i < view->width; i++) {
        const JoinKey *column = view->columns + i;
        const char *text = NULL;
        Py_ssize_t length = 0;
        if (column->numbers == NULL && (text = PyUnicode_AsUTF8AndSize(column->texts[row], &length)) == NULL) {
            return -1;
        }
        if (size + length + MOST_VARINT > view->key_room) {
            Py_ssize_t room = 2 * (size + length + MOST_VARINT);
            char *larger = PyMem_Realloc(view->key, (size_t)room);
            if (larger == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            view->key = larger;
            view->key_room = room;
        }
        unsigned char *to = (unsigned char *)view->key + size;
        if (text == NULL) {
            size = (char *)put_number(to, column->numbers[row]) - view->key;
            continue;
        }
        if (i < view->width - 1) { /* the last one needs no length */
            to = put_varint(to, (uint64_t)length);
        }
        memcpy(to, text, (size_t)length);
        size = (char *)to + length - view->key;
    }
    return size;
}

/* The distinct keys, put behind the others; place_of[i] becomes the place of row i's key. -1 with an error. */
static int
put_keys(Keys *view, PyObject *keys, int64_t *place_of)
{
    memset(view->table, 0, view->room * sizeof *view->table);
    for (Py_ssize_t row = 0; row < view->rows; row++) {
        size_t at = hash_of_row(view, row) & (view->room - 1);
        while (view->table[at] && !are_same(view, view->table[at] - 1, row)) {
            at = (at + 1) & (view->room - 1);
        }
        if (view->table[at]) {
            place_of[row] = place_of[view->table[at] - 1];
            continue;
        }
        view->table[at] = row + 1;
        place_of[row] = PyList_GET_SIZE(keys);
        Py_ssize_t size = write_key(view, row);
        if (size < 0 || put_key(keys, view->key, size) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The columns of a view's join keys. 1, 0 where Python is to make its keys, -1 with an error. */
static int
join_keys(PyObject *names, PyObject *given, Py_ssize_t rows, JoinKey *to)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *column = PyDict_GetItemWithError(given, PyTuple_GET_ITEM(names, i));
        if (column == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetObject(PyExc_KeyError, PyTuple_GET_ITEM(names, i));
            }
            return -1;
        }
        PyArrayObject *values = (PyArrayObject *)column;
        if (!PyArray_Check(column) || PyArray_NDIM(values) != 1 || PyArray_DIM(values, 0) != rows ||
            !PyArray_IS_C_CONTIGUOUS(values) || !PyArray_ISBEHAVED_RO(values)) {
            return 0;
        }
        if (PyTypeNum_ISSIGNED(PyArray_TYPE(values)) && PyArray_ITEMSIZE(values) == 8) {
            to[i] = (JoinKey){PyArray_DATA(values), NULL};
            continue;
        }
        if (PyArray_TYPE(values) != NPY_OBJECT) {
            return 0;
        }
        to[i] = (JoinKey){NULL, PyArray_DATA(values)};
        for (Py_ssize_t row = 0; row < rows; row++) {
            if (to[i].texts[row] == NULL || !PyUnicode_CheckExact(to[i].texts[row])) {
                return 0;
            }
        }
    }
    return 1;
}

/* All views' keys: 1, 0 where Python is to make them, -1 with an error. */
static int
ask_all(PyObject *spaces, PyObject *given, Keys *view, JoinKey *columns, PyObject *keys, int64_t *ends, int64_t *places)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(spaces); i++, places += view->rows) {
        PyObject *names;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(spaces, i), "SO!;spaces: prefix, names", &view->prefix, &PyTuple_Type, &names)) {
            return -1;
        }
        view->width = PyTuple_GET_SIZE(names);
        if (view->width > MOST_JOIN_KEYS || PyBytes_GET_SIZE(view->prefix) > view->key_room) {
            return 0;
        }
        int taken = join_keys(names, given, view->rows, columns);
        if (taken <= 0) {
            return taken;
        }
        memcpy(view->key, PyBytes_AS_STRING(view->prefix), (size_t)PyBytes_GET_SIZE(view->prefix));
        if (put_keys(view, keys, places) < 0) {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) {
                return -1;
            }
            PyErr_Clear();
            return 0;
        }
        ends[i] = PyList_GET_SIZE(keys);
    }
    return 1;
}

static PyObject *
ask(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 3, "ask")) {
        return NULL;
    }
    npy_intp shape[2] = {0, PyLong_AsSsize_t(given[2])};
    if (PyErr_Occurred()) {
        return NULL;
    }
    int good = PyTuple_Check(given[0]) && PyDict_Check(given[1]) && shape[1] >= 0 && shape[1] <= PY_SSIZE_T_MAX / 64;
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(given[0]); i++) {
        good = PyTuple_Check(PyTuple_GET_ITEM(given[0], i));
    }
    if (!good) {
        PyErr_SetString(PyExc_TypeError, "ask takes a tuple of tuples, a dict, and a number of rows");
        return NULL;
    }
    shape[0] = PyTuple_GET_SIZE(given[0]);
    JoinKey columns[MOST_JOIN_KEYS];
    Keys view = {.columns = columns, .rows = shape[1], .room = 16, .key_room = 512};
    while (view.room < 2 * (size_t)view.rows) {
        view.room *= 2;
    }
    Py_ssize_t small[256];
    view.table = view.room > 256 ? PyMem_Malloc(view.room * sizeof *view.table) : small;
    view.key = PyMem_Malloc((size_t)view.key_room);
    PyObject *keys = PyList_New(0), *found = NULL;
    PyArrayObject *ends = (PyArrayObject *)PyArray_SimpleNew(1, shape, NPY_INT64);
    PyArrayObject *places = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_INT64);
    if (view.table == NULL || view.key == NULL) {
        PyErr_NoMemory();
    }
    else if (keys != NULL && ends != NULL && places != NULL) {
        int done = ask_all(given[0], given[1], &view, columns, keys, PyArray_DATA(ends), PyArray_DATA(places));
        found = done < 0 ? NULL : done ? PyTuple_Pack(3, keys, ends, places) : Py_NewRef(Py_None);
    }
    if (view.table != small) {
        PyMem_Free(view.table);
    }
    PyMem_Free(view.key);
    Py_XDECREF(keys);
    Py_XDECREF(ends);
    Py_XDECREF(places);
    return found;
}

/* ---- Commands, as they go over the wire: https://redis.io/docs/latest/develop/reference/protocol-spec/. */

#define MOST_HEAD 24 /* a letter, a number of 64 bits, an end of line */

static char *
put_head(char *to, char letter, Py_ssize_t number)
{
    char digits[MOST_HEAD], *digit = digits + sizeof digits;
    do {
        *--digit = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    *to++ = letter;
    memcpy(to, digit, (size_t)(digits + sizeof digits - digit));
    to += digits + sizeof digits - digit;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static char *
put_part(char *to, PyObject *part)
{
    Py_ssize_t size = PyBytes_GET_SIZE(part);
    to = put_head(to, '$', size);
    memcpy(to, PyBytes_AS_STRING(part), (size_t)size);
    to += size;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static PyObject *
command(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 2, "command")) {
        return NULL;
    }
    int good = PyBytes_Check(given[0]) && PyList_Check(given[1]);
    Py_ssize_t parts = good ? PyList_GET_SIZE(given[1]) : 0, room = 2 * MOST_HEAD + 2 + (good ? PyBytes_GET_SIZE(given[0]) : 0);
    for (Py_ssize_t i = 0; good && i < parts; i++) {
        PyObject *part = PyList_GET_ITEM(given[1], i);
        good = PyBytes_Check(part) && PyBytes_GET_SIZE(part) < PY_SSIZE_T_MAX / 2 - room - MOST_HEAD;
        room += good ? PyBytes_GET_SIZE(part) + MOST_HEAD + 2 : 0;
    }
    if (!good) {
        PyErr_SetString(PyExc_TypeError, "command takes bytes, and a list of bytes");
        return NULL;
    }
    PyObject *whole = PyBytes_FromStringAndSize(NULL, room);
    if (whole == NULL) {
        return NULL;
    }
    char *start = PyBytes_AS_STRING(whole), *to = put_part(put_head(start, '*', parts + 1), given[0]);
    for (Py_ssize_t i = 0; i < parts; i++) {
        to = put_part(to, PyList_GET_ITEM(given[1], i));
    }
    _PyBytes_Resize(&whole, to - start);
    return whole;
}

/* ---- Packed rows: lockstep.schema says how they look, lockstep.checksum how they are summed. */

#define NO_CREATED INT64_MIN /* lockstep.schema */

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

/* Arrays of zeros for the values of a plan: a line of each is a column. */
static PyObject *
rooms_for(PyObject *groups, npy_intp rows)
{
    PyObject *made = PyTuple_New(PyTuple_GET_SIZE(groups));
    for (Py_ssize_t i = 0; made != NULL && i < PyTuple_GET_SIZE(groups); i++) {
        int type;
        Py_ssize_t columns;
        PyObject *group = PyTuple_GET_ITEM(groups, i), *room = NULL;
        if (!PyTuple_Check(group)) {
            PyErr_SetString(PyExc_TypeError, "groups is a tuple of tuples");
        }
        else if (PyArg_ParseTuple(group, "in;groups: type, columns", &type, &columns)) {
            if (columns < 0 || (type != NPY_INT64 && type != NPY_FLOAT32 && type != NPY_FLOAT64 && type != NPY_OBJECT)) {
                PyErr_SetString(PyExc_TypeError, "a group is int64, float32, float64 or object");
            }
            else {
                npy_intp shape[2] = {columns, rows};
                room = PyArray_ZEROS(2, shape, type, 0);
            }
        }
        if (room == NULL) {
            Py_CLEAR(made);
        }
        else {
            PyTuple_SET_ITEM(made, i, room);
        }
    }
    return made;
}

static PyArrayObject *
filled(npy_intp views, npy_intp rows, int64_t value)
{
    npy_intp shape[2] = {views, rows};
    PyArrayObject *made = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_INT64);
    int64_t *to = made == NULL ? NULL : PyArray_DATA(made);
    for (npy_intp i = 0; made != NULL && i < views * rows; i++) {
        to[i] = value;
    }
    return made;
}

/* What is made of some rows, to be filled. */
typedef struct {
    PyArrayObject *found, *event, *created, *states;
    PyObject *values;
} Gathered;

static int fill_from(PyArrayObject *readers, PyArrayObject *columns, PyObject *answers, PyArrayObject *ends,
                     PyArrayObject *places, const Gathered *to, npy_bool *is_strange);

static PyObject *
gather(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 9, "gather")) {
        return NULL;
    }
    PyArrayObject *readers = array(given[0], NPY_INT64, 2, TO_READ, "readers");
    PyArrayObject *columns = array(given[1], NPY_INT64, 2, TO_READ, "columns");
    PyArrayObject *ends = array(given[3], NPY_INT64, 1, TO_READ, "ends");
    PyArrayObject *places = array(given[4], NPY_INT64, 2, TO_READ, "places");
    npy_intp views = PyLong_AsSsize_t(given[5]), stored = PyLong_AsSsize_t(given[6]);
    int any_created = PyObject_IsTrue(given[8]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (!PyList_Check(given[2]) || !PyTuple_Check(given[7])) {
        PyErr_SetString(PyExc_TypeError, "answers is a list, and groups a tuple");
        return NULL;
    }
    npy_intp rows = PyArray_DIM(places, 1), readers_count = PyArray_DIM(readers, 0);
    if (views < 0 || stored < 0) {
        return unfit();
    }
    npy_intp of_states[2] = {stored, rows}, of_views[2] = {views, rows};
    Gathered to = {
        (PyArrayObject *)PyArray_ZEROS(2, of_views, NPY_INT8, 0),
        filled(views, rows, 0),
        any_created ? filled(views, rows, NO_CREATED) : NULL,
        (PyArrayObject *)PyArray_ZEROS(2, of_states, NPY_INT8, 0),
        rooms_for(given[7], rows),
    };
    PyArrayObject *strange = (PyArrayObject *)PyArray_ZEROS(1, &readers_count, NPY_BOOL, 0);
    PyObject *found = NULL;
    if (to.found != NULL && to.event != NULL && (to.created != NULL || !any_created) && to.states != NULL &&
        to.values != NULL && strange != NULL) {
        int state = fill_from(readers, columns, given[2], ends, places, &to, PyArray_DATA(strange));
        if (state >= 0) {
            PyObject *created = any_created ? (PyObject *)to.created : Py_None;
            found = PyTuple_Pack(6, to.found, to.event, created, to.states, to.values, state ? (PyObject *)strange : Py_None);
        }
    }
    Py_XDECREF(to.found);
    Py_XDECREF(to.event);
    Py_XDECREF(to.created);
    Py_XDECREF(to.states);
    Py_XDECREF(to.values);
    Py_XDECREF(strange);
    return found;
}

/* 1 where a reader is strange, 0 where none is, -1 with an error. */
static int
fill_from(PyArrayObject *readers, PyArrayObject *columns, PyObject *answers, PyArrayObject *ends, PyArrayObject *places,
          const Gathered *into, npy_bool *is_strange)
{
    PyArrayObject *found = into->found, *event = into->event, *created = into->created, *states = into->states;
    PyObject *groups = into->values;
    npy_intp read = PyArray_DIM(readers, 0), views = PyArray_DIM(found, 0), rows = PyArray_DIM(places, 1);
    npy_intp lines = PyArray_DIM(columns, 0), asked = PyList_GET_SIZE(answers);
    int any_strange = 0;
    int fit = is_table(readers, read, R_FIELDS) && is_table(columns, lines, C_FIELDS) && is_long(ends, read) &&
              is_table(places, read, rows);
    const int64_t *reader_of = PyArray_DATA(readers), *line_of = PyArray_DATA(columns), *end_of_part = PyArray_DATA(ends);
    const int64_t *all_places = PyArray_DATA(places);
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
              line_fits(line, reader_of + line[C_READER] * R_FIELDS,
                        (PyArrayObject *)PyTuple_GET_ITEM(groups, line[C_GROUP]), rows, PyArray_DIM(states, 0));
    }
    if (!fit) {
        PyErr_SetString(PyExc_ValueError, "the tables and the arrays do not fit each other");
        return -1;
    }
    const char **row_of = PyMem_Calloc((size_t)asked + 1, sizeof *row_of);
    if (row_of == NULL) {
        PyErr_NoMemory();
        return -1;
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
                return -1;
            }
            size_t size = (size_t)PyBytes_GET_SIZE(answer);
            if (size && is_sound(PyBytes_AS_STRING(answer), size, reader)) {
                row_of[at] = PyBytes_AS_STRING(answer);
            }
            else if (size) {
                is_strange[i] = any_strange = 1;
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
            return -1;
        }
        if (!done) {
            is_strange[line[C_READER]] = any_strange = 1;
        }
    }
    PyMem_Free(row_of);
    return any_strange;
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

/* An array of that type, of two dimensions, behind each other in memory: itself, or a copy. */
static PyArrayObject *
table_of(PyObject *given, int type, const char *name)
{
    if (!PyArray_Check(given) || PyArray_NDIM((PyArrayObject *)given) != 2) {
        PyErr_Format(PyExc_TypeError, "%s is not the array that was expected", name);
        return NULL;
    }
    if (PyArray_IS_C_CONTIGUOUS((PyArrayObject *)given)) {
        PyArrayObject *found = array(given, type, 2, TO_READ, name);
        return (PyArrayObject *)Py_XNewRef((PyObject *)found);
    }
    PyArrayObject *made = PyArray_GETCONTIGUOUS((PyArrayObject *)given);
    if (made != NULL && array((PyObject *)made, type, 2, TO_READ, name) == NULL) {
        Py_CLEAR(made);
    }
    return made;
}

/* What there is instead, wherever a status is not PRESENT: a copy of the values. */
static PyObject *
replaced_in(PyObject *given, PyObject *instead, PyObject *at, PyArrayObject *statuses)
{
    if (!PyArray_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "values is not the array that was expected");
        return NULL;
    }
    int type = PyArray_TYPE((PyArrayObject *)given);
    if (type != NPY_OBJECT && !PyTypeNum_ISNUMBER(type)) {
        PyErr_SetString(PyExc_TypeError, "values are numbers, or objects");
        return NULL;
    }
    PyArrayObject *others = array(instead, type, 2, TO_READ, "instead");
    PyArrayObject *places = array(at, NPY_INT64, 1, TO_READ, "places");
    PyArrayObject *values = PyErr_Occurred() ? NULL : (PyArrayObject *)PyArray_NewCopy((PyArrayObject *)given, NPY_CORDER);
    if (values == NULL) {
        return NULL;
    }
    const int64_t *place = PyArray_DATA(places);
    if (PyArray_NDIM(values) != 2 || !is_table(others, PyArray_DIM(values, 0), 1) ||
        PyArray_ITEMSIZE(others) != PyArray_ITEMSIZE(values) || PyArray_DIM(statuses, 1) != PyArray_DIM(values, 1) ||
        !is_long(places, PyArray_DIM(values, 0)) || !are_places(places, PyArray_DIM(statuses, 0))) {
        Py_DECREF(values);
        return unfit();
    }
    npy_intp columns = PyArray_DIM(values, 0), rows = PyArray_DIM(values, 1);
    size_t size = (size_t)PyArray_ITEMSIZE(values);
    for (npy_intp i = 0; i < columns; i++) {
        const npy_int8 *status = PyArray_GETPTR2(statuses, place[i], 0);
        char *to = PyArray_GETPTR2(values, i, 0);
        const char *from = PyArray_GETPTR2(others, i, 0);
        for (npy_intp row = 0; row < rows; row++, to += size) {
            if (status[row] == PRESENT) {
                continue;
            }
            if (type == NPY_OBJECT) {
                Py_XSETREF(*(PyObject **)to, Py_NewRef(*(PyObject *const *)from));
            }
            else {
                memcpy(to, from, size);
            }
        }
    }
    return (PyObject *)values;
}

/* All groups of values with what there is instead, of tuples with an entry for each. */
static PyObject *
all_replaced(PyObject *groups, PyObject *instead, PyObject *places, PyArrayObject *statuses)
{
    PyObject *made = PyTuple_New(PyTuple_GET_SIZE(groups));
    for (Py_ssize_t i = 0; made != NULL && i < PyTuple_GET_SIZE(groups); i++) {
        PyObject *one = replaced_in(PyTuple_GET_ITEM(groups, i), PyTuple_GET_ITEM(instead, i), PyTuple_GET_ITEM(places, i),
                                    statuses);
        if (one == NULL) {
            Py_CLEAR(made);
        }
        else {
            PyTuple_SET_ITEM(made, i, one);
        }
    }
    return made;
}

/* What was found and what is known of the plan, to be judged. */
typedef struct {
    PyArrayObject *found, *event, *created, *states, *times, *ttls, *views, *defaults;
} Unsettled;

/* How many values are absent; -1 with an error. */
static npy_intp
judge_all(const Unsettled *of, PyArrayObject *statuses, PyArrayObject *replaced, npy_int8 *rung)
{
    npy_intp width = PyArray_DIM(of->found, 0), rows = PyArray_DIM(of->found, 1), columns = PyArray_DIM(of->states, 0);
    const int64_t *view_of = PyArray_DATA(of->views);
    npy_int8 small[1024], *judged = small;
    size_t size = (size_t)(width * rows);
    if (size > sizeof small && (judged = PyMem_Malloc(size)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (npy_intp i = 0; i < width; i++) {
        judge(PyArray_GETPTR2(of->found, i, 0), PyArray_GETPTR2(of->event, i, 0),
              of->created == NULL ? NULL : PyArray_GETPTR2(of->created, i, 0), PyArray_DATA(of->times),
              *(const int64_t *)PyArray_GETPTR2(of->ttls, i, 0), rows, judged + i * rows);
    }
    memset(rung, 0, (size_t)rows);
    npy_intp absent = 0;
    for (npy_intp i = 0; i < columns; i++) {
        const npy_int8 *of_row = judged + view_of[i] * rows, *state = PyArray_GETPTR2(of->states, i, 0);
        npy_int8 *status = PyArray_GETPTR2(statuses, i, 0);
        npy_bool *is_replaced = PyArray_GETPTR2(replaced, i, 0);
        npy_bool has_default = *(npy_bool *)PyArray_GETPTR2(of->defaults, i, 0);
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
    return absent;
}

static PyObject *
settled(const Unsettled *of, PyObject *groups, PyObject *instead, PyObject *places)
{
    npy_intp width = PyArray_DIM(of->found, 0), rows = PyArray_DIM(of->found, 1), columns = PyArray_DIM(of->states, 0);
    if (!is_table(of->event, width, rows) || (of->created != NULL && !is_table(of->created, width, rows)) ||
        !is_table(of->states, columns, rows) || !is_long(of->times, rows) || !is_table(of->ttls, width, 1) ||
        !is_long(of->views, columns) || !are_places(of->views, width) || !is_table(of->defaults, columns, 1)) {
        return unfit();
    }
    PyArrayObject *statuses = (PyArrayObject *)PyArray_SimpleNew(2, PyArray_DIMS(of->states), NPY_INT8);
    PyArrayObject *replaced = (PyArrayObject *)PyArray_SimpleNew(2, PyArray_DIMS(of->states), NPY_BOOL);
    PyArrayObject *rungs = (PyArrayObject *)PyArray_SimpleNew(1, &rows, NPY_INT8);
    PyObject *values = NULL, *made = NULL;
    if (statuses != NULL && replaced != NULL && rungs != NULL) {
        npy_intp absent = judge_all(of, statuses, replaced, PyArray_DATA(rungs));
        if (absent >= 0) {
            values = absent ? all_replaced(groups, instead, places, statuses) : Py_NewRef(groups);
        }
    }
    if (values != NULL) {
        made = PyTuple_Pack(4, statuses, replaced, rungs, values);
    }
    Py_XDECREF(statuses);
    Py_XDECREF(replaced);
    Py_XDECREF(rungs);
    Py_XDECREF(values);
    return made;
}

static PyObject *
settle(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 11, "settle")) {
        return NULL;
    }
    PyObject *groups = given[8], *instead = given[9], *places = given[10], *made = NULL;
    if (!PyTuple_Check(groups) || !PyTuple_Check(instead) || !PyTuple_Check(places) ||
        PyTuple_GET_SIZE(groups) != PyTuple_GET_SIZE(instead) || PyTuple_GET_SIZE(groups) != PyTuple_GET_SIZE(places)) {
        PyErr_SetString(PyExc_TypeError, "values, instead and places are tuples of one length");
        return NULL;
    }
    Unsettled of = {
        .times = array(given[4], NPY_INT64, 1, TO_READ, "t"),
        .ttls = array(given[5], NPY_INT64, 2, TO_READ, "ttl_us"),
        .views = array(given[6], NPY_INT64, 1, TO_READ, "view_of"),
        .defaults = array(given[7], NPY_BOOL, 2, TO_READ, "has_default"),
    };
    if (PyErr_Occurred()) {
        return NULL;
    }
    of.found = table_of(given[0], NPY_INT8, "found");
    of.event = of.found == NULL ? NULL : table_of(given[1], NPY_INT64, "event_us");
    of.states = of.event == NULL ? NULL : table_of(given[3], NPY_INT8, "states");
    of.created = of.states == NULL || given[2] == Py_None ? NULL : table_of(given[2], NPY_INT64, "created_us");
    if (!PyErr_Occurred()) {
        made = settled(&of, groups, instead, places);
    }
    Py_XDECREF(of.found);
    Py_XDECREF(of.event);
    Py_XDECREF(of.states);
    Py_XDECREF(of.created);
    return made;
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

/* ---- Columns side by side, as a graph takes them: lockstep.graph. */

static PyObject *
beside(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 2, "beside")) {
        return NULL;
    }
    if (!PyDict_Check(given[0]) || !PyTuple_Check(given[1])) {
        PyErr_SetString(PyExc_TypeError, "beside takes a dict and a tuple");
        return NULL;
    }
    PyObject *names = given[1];
    npy_intp shape[2] = {0, PyTuple_GET_SIZE(names)}, size = 0;
    PyArrayObject *made = NULL;
    for (npy_intp i = 0; i < shape[1]; i++) {
        PyArrayObject *column = (PyArrayObject *)PyDict_GetItemWithError(given[0], PyTuple_GET_ITEM(names, i));
        if (column == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetObject(PyExc_KeyError, PyTuple_GET_ITEM(names, i));
            }
            Py_XDECREF(made);
            return NULL;
        }
        int fits = PyArray_Check(column) && PyArray_NDIM(column) == 1 && PyArray_ISBEHAVED_RO(column) &&
                   PyTypeNum_ISNUMBER(PyArray_TYPE(column));
        if (fits && made == NULL) {
            shape[0] = PyArray_DIM(column, 0);
            size = PyArray_ITEMSIZE(column);
            fits = size == 4 || size == 8;
            if (fits && (made = (PyArrayObject *)PyArray_SimpleNew(2, shape, PyArray_TYPE(column))) == NULL) {
                return NULL;
            }
        }
        if (!fits || PyArray_TYPE(column) != PyArray_TYPE(made) || PyArray_DIM(column, 0) != shape[0]) {
            Py_XDECREF(made);
            Py_RETURN_NONE;
        }
        const char *from = PyArray_DATA(column);
        char *to = (char *)PyArray_DATA(made) + i * size;
        npy_intp step = PyArray_STRIDE(column, 0), width = shape[1] * size;
        for (npy_intp row = 0; row < shape[0]; row++, from += step, to += width) {
            if (size == 4) {
                memcpy(to, from, 4);
            }
            else {
                memcpy(to, from, 8);
            }
        }
    }
    if (made == NULL) {
        Py_RETURN_NONE;
    }
    return (PyObject *)made;
}

/* ---- The module. */

static PyMethodDef functions[] = {
    {"ask", (PyCFunction)(void (*)(void))ask, METH_FASTCALL,
     "ask(spaces, given, rows)\n\n"
     "The distinct keys of all views, where those of each end, and for each view and row the place of its key; None where\n"
     "Python is to make them."},
    {"beside", (PyCFunction)(void (*)(void))beside, METH_FASTCALL,
     "beside(columns, names)\n\n"
     "Some columns of numbers side by side: shape (rows, names); None for others."},
    {"collect", (PyCFunction)(void (*)(void))collect, METH_FASTCALL,
     "collect(wanted, requests, times, lengths, most)\n\n"
     "The columns of several requests end to end, as a plan takes them, and their times; None where Python is to check."},
    {"command", (PyCFunction)(void (*)(void))command, METH_FASTCALL,
     "command(name, parts)\n\n"
     "A command of Redis as it goes over the wire."},
    {"gather", (PyCFunction)(void (*)(void))gather, METH_FASTCALL,
     "gather(readers, columns, answers, ends, places, views, stored, groups, created)\n\n"
     "Check packed rows and make arrays of what they hold; lockstep.compiled_rows says what they are."},
    {"link_front", (PyCFunction)(void (*)(void))link_front, METH_FASTCALL,
     "link_front(names, registers, constants, steps, words, output)\n\n"
     "Steps for run_front; lockstep.front says what the arrays are."},
    {"link_trees", (PyCFunction)(void (*)(void))link_trees, METH_FASTCALL,
     "link_trees(columns, steps, values, missing, base)\n\n"
     "Decision trees for sum_trees; lockstep.trees says what the arrays are."},
    {"parse", (PyCFunction)(void (*)(void))parse, METH_FASTCALL,
     "parse(message, most, texts)\n\n"
     "Model, version, columns, t or None, explain and strict of a PredictRequest with at most so many values in a column;\n"
     "None where it holds anything else, or anything is wrong. `texts` is the class of a list of texts."},
    {"run_front", (PyCFunction)(void (*)(void))run_front, METH_FASTCALL,
     "run_front(front, columns)\n\n"
     "The features that the steps make of columns; None where ONNX Runtime is to make them."},
    {"settle", (PyCFunction)(void (*)(void))settle, METH_FASTCALL,
     "settle(found, event_us, created_us, states, t, ttl_us, view_of, has_default, values, instead, places)\n\n"
     "The status of every value, whether its default takes its place, the rung of every row, and the values with defaults."},
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
