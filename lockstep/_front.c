/* What a graph does before its trees, in C: columns filled, scaled, compared, rotated, and words counted.

   lockstep.front makes the steps of an ONNX graph, each of which does what the operator of that name does. Nothing is
   rounded otherwise than ONNX Runtime rounds it: additions of a product go through fma where the processor has one, as
   in ONNX Runtime's own matrix product, and nowhere else (-ffp-contract=off).

   Rows are done in blocks, so that what is between two steps stays in the cache. */

#define NO_IMPORT_ARRAY
#include "_core.h"
#include <math.h>

#define BLOCK 32     /* rows that go through all steps before the next ones */
#define MOST_WIDTH 4096
#define MOST_INNER 128 /* of a matrix product: with more, ONNX Runtime adds up parts */

enum { F32, F64, I64, FLAG, TEXT, TYPES }; /* types of a register, as lockstep.front numbers them */
static const npy_intp size_of[TYPES] = {4, 8, 8, 1, sizeof(PyObject *)};

enum { COPY, PICK, CAST, IS_NAN, WHERE, ADD, SUB, MUL, DIV, EQUAL, SQRT, MATMUL, CUMSUM, WORDS, OPERATORS };

/* A table of so many columns: of the rows of a block, or one row that stands for all. */
typedef struct {
    int64_t type, width;
    int is_constant;
    void *at;
} Register;

typedef struct {
    int64_t op, out, a, b, c, extra;
} Step;

/* The words that are counted, by hash. */
typedef struct {
    Py_ssize_t count;
    size_t room; /* a power of two */
    Py_ssize_t *table; /* the word's place, plus 1; 0: free */
    PyObject *words;   /* a tuple of bytes */
} Pool;

typedef struct {
    npy_intp registers, steps, inputs, output, pools;
    Register *at;
    Step *step;
    Pool *pool;
    PyObject *names, *constants; /* held: registers point into the latter */
    char *arena;
} Front;

static const char *const CAPSULE = "lockstep._core.Front";

/* ---- Words. */

static uint64_t
hash_of_word(const char *at, Py_ssize_t size)
{
    uint64_t hash = 0xCBF29CE484222325u; /* FNV-1a: the words are the model's own, and few */
    for (Py_ssize_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)at[i]) * 0x100000001B3u;
    }
    return hash ^ (hash >> 29);
}

/* Where a word stands in the table, or the free place where it would. */
static size_t
place_of_word(const Pool *pool, const char *at, Py_ssize_t size)
{
    size_t place = hash_of_word(at, size) & (pool->room - 1);
    while (pool->table[place]) {
        PyObject *word = PyTuple_GET_ITEM(pool->words, pool->table[place] - 1);
        if (PyBytes_GET_SIZE(word) == size && memcmp(PyBytes_AS_STRING(word), at, (size_t)size) == 0) {
            break;
        }
        place = (place + 1) & (pool->room - 1);
    }
    return place;
}

/* 1; 0 where a word comes twice, or is none; -1 with an error. */
static int
fill_pool(PyObject *words, Pool *pool)
{
    if (!PyTuple_Check(words)) {
        return 0;
    }
    pool->words = words;
    pool->count = PyTuple_GET_SIZE(words);
    for (pool->room = 16; pool->room < 4 * (size_t)pool->count; pool->room *= 2) {
    }
    pool->table = PyMem_Calloc(pool->room, sizeof *pool->table);
    if (pool->table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < pool->count; i++) {
        PyObject *word = PyTuple_GET_ITEM(words, i);
        if (!PyBytes_Check(word)) {
            return 0;
        }
        size_t place = place_of_word(pool, PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word));
        if (pool->table[place]) {
            return 0;
        }
        pool->table[place] = i + 1;
    }
    return 1;
}

/* How often each word is in a text whose words have spaces between them. */
static void
count_words(const Pool *pool, PyObject *text, float *counts)
{
    Py_ssize_t size, end;
    const char *at = PyUnicode_AsUTF8AndSize(text, &size); /* which `load` has made */
    memset(counts, 0, (size_t)pool->count * sizeof *counts);
    for (Py_ssize_t start = 0; start < size; start = end + 1) {
        for (end = start; end < size && at[end] != ' '; end++) {
        }
        if (end > start) {
            Py_ssize_t word = pool->table[place_of_word(pool, at + start, end - start)];
            if (word) {
                counts[word - 1]++;
            }
        }
    }
}

/* ---- Steps. Those of two operands take a column of one for all columns of the other. */

#define ROW_OF(REGISTER, TYPE, ROW) ((const TYPE *)(REGISTER)->at + ((REGISTER)->is_constant ? 0 : (ROW) * (REGISTER)->width))

#define BINARY(TYPE, MADE, FROM)                                                                                       \
    for (npy_intp row = 0; row < rows; row++) {                                                                        \
        const TYPE *restrict x = ROW_OF(a, TYPE, row), *restrict y = ROW_OF(b, TYPE, row);                             \
        MADE *restrict to = (MADE *)out->at + row * width;                                                             \
        if (a->width == width && b->width == width) {                                                                  \
            for (npy_intp i = 0; i < width; i++) {                                                                     \
                to[i] = (MADE)(x[i] FROM y[i]);                                                                        \
            }                                                                                                          \
        }                                                                                                              \
        else if (a->width == width) {                                                                                  \
            TYPE one = y[0];                                                                                           \
            for (npy_intp i = 0; i < width; i++) {                                                                     \
                to[i] = (MADE)(x[i] FROM one);                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        else {                                                                                                         \
            TYPE one = x[0];                                                                                           \
            for (npy_intp i = 0; i < width; i++) {                                                                     \
                to[i] = (MADE)(one FROM y[i]);                                                                         \
            }                                                                                                          \
        }                                                                                                              \
    }

#define OF_FLOATS(FROM)                                                                                                \
    if (a->type == F32) {                                                                                              \
        BINARY(float, float, FROM)                                                                                     \
    }                                                                                                                  \
    else {                                                                                                             \
        BINARY(double, double, FROM)                                                                                   \
    }

static void
compare(const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    npy_intp width = out->width;
    switch (a->type) {
    case F32: BINARY(float, uint8_t, ==) break;
    case F64: BINARY(double, uint8_t, ==) break;
    default: BINARY(int64_t, uint8_t, ==) break;
    }
}

static void
calculate(int64_t op, const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    npy_intp width = out->width;
    switch (op) {
    case ADD: OF_FLOATS(+) break;
    case SUB: OF_FLOATS(-) break;
    case MUL: OF_FLOATS(*) break;
    default: OF_FLOATS(/) break;
    }
}

/* ONNX Runtime puts 0 where a value is not chosen, and takes of two values the one that is not 0: a chosen -0 becomes 0.
   It asks that of the second values where these are one for many of the first, and else of the first. */
#define CHOOSE(TYPE)                                                                                                   \
    for (npy_intp row = 0; row < rows; row++) {                                                                        \
        const uint8_t *restrict flag = ROW_OF(which, uint8_t, row);                                                    \
        const TYPE *restrict x = ROW_OF(a, TYPE, row), *restrict y = ROW_OF(b, TYPE, row);                             \
        TYPE *restrict to = (TYPE *)out->at + row * out->width;                                                        \
        for (npy_intp i = 0; i < out->width; i++) {                                                                    \
            TYPE yes = x[i * x_step], no = y[i * y_step];                                                              \
            to[i] = flag[i * step] ? (second ? yes : yes + 0) : second ? no + 0 : no;                                  \
        }                                                                                                              \
    }

static void
choose(const Register *out, const Register *which, const Register *a, const Register *b, npy_intp rows)
{
    int second = a->width > b->width && which->width < a->width;
    npy_intp step = which->width == out->width, x_step = a->width == out->width, y_step = b->width == out->width;
    if (out->type == F32) {
        CHOOSE(float)
    }
    else {
        CHOOSE(double)
    }
}

#define CONVERT(FROM, TO)                                                                                              \
    for (npy_intp i = 0; i < count; i++) {                                                                             \
        ((TO *)out->at)[i] = (TO)((const FROM *)a->at)[i];                                                             \
    }

static void
cast(const Register *out, const Register *a, npy_intp rows)
{
    npy_intp count = rows * out->width;
    switch (a->type * TYPES + out->type) {
    case F32 * TYPES + F64: CONVERT(float, double) break;
    case F64 * TYPES + F32: CONVERT(double, float) break;
    case I64 * TYPES + F32: CONVERT(int64_t, float) break;
    case I64 * TYPES + F64: CONVERT(int64_t, double) break;
    case FLAG * TYPES + F32: CONVERT(uint8_t, float) break;
    case FLAG * TYPES + F64: CONVERT(uint8_t, double) break;
    default: memcpy(out->at, a->at, (size_t)(count * size_of[a->type]));
    }
}

static void
find_nan(const Register *out, const Register *a, npy_intp rows)
{
    uint8_t *to = out->at;
    for (npy_intp i = 0; i < rows * out->width; i++) {
        double value = a->type == F32 ? ((const float *)a->at)[i] : ((const double *)a->at)[i];
        to[i] = value != value;
    }
}

static void
take_roots(const Register *out, const Register *a, npy_intp rows)
{
    for (npy_intp i = 0; i < rows * out->width; i++) {
        if (a->type == F32) {
            ((float *)out->at)[i] = sqrtf(((const float *)a->at)[i]);
        }
        else {
            ((double *)out->at)[i] = sqrt(((const double *)a->at)[i]);
        }
    }
}

static void
add_up(const Register *out, const Register *a, npy_intp rows)
{
    for (npy_intp row = 0; row < rows; row++) {
        const double *from = ROW_OF(a, double, row);
        double *to = (double *)out->at + row * out->width, sum = 0;
        for (npy_intp i = 0; i < out->width; i++) {
            to[i] = sum = i ? sum + from[i] : from[i];
        }
    }
}

/* Columns of one table at a place of another, or those that are picked. */
static void
copy(const Register *out, const Register *a, npy_intp first, npy_intp rows)
{
    npy_intp size = size_of[out->type];
    for (npy_intp row = 0; row < rows; row++) {
        memcpy((char *)out->at + (row * out->width + first) * size, (const char *)a->at + row * a->width * size,
               (size_t)(a->width * size));
    }
}

static void
pick(const Register *out, const Register *a, const Register *which, npy_intp rows)
{
    const int64_t *place = which->at;
    for (npy_intp row = 0; row < rows; row++) {
        for (npy_intp i = 0; i < out->width; i++) {
            if (size_of[out->type] == 8) {
                ((int64_t *)out->at)[row * out->width + i] = ((const int64_t *)a->at)[row * a->width + place[i]];
            }
            else {
                ((int32_t *)out->at)[row * out->width + i] = ((const int32_t *)a->at)[row * a->width + place[i]];
            }
        }
    }
}

/* A matrix product: products are added one after the other, as ONNX Runtime's kernels do. */
#define PRODUCT(ADDED)                                                                                                 \
    for (npy_intp row = 0; row < rows; row++) {                                                                        \
        const double *restrict x = ROW_OF(a, double, row), *restrict y = b->at;                                        \
        double *restrict to = (double *)out->at + row * out->width;                                                    \
        memset(to, 0, (size_t)out->width * sizeof *to);                                                                \
        for (npy_intp k = 0; k < a->width; k++, y += out->width) {                                                     \
            double one = x[k];                                                                                         \
            for (npy_intp i = 0; i < out->width; i++) {                                                                \
                to[i] = ADDED;                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
    }

static void
multiply_plainly(const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    PRODUCT(to[i] + one * y[i])
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("fma"))) static void
multiply_fused(const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    PRODUCT(__builtin_fma(one, y[i], to[i]))
}

static void
multiply(const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    (__builtin_cpu_supports("fma") ? multiply_fused : multiply_plainly)(out, a, b, rows);
}
#elif defined(FP_FAST_FMA)
static void
multiply(const Register *out, const Register *a, const Register *b, npy_intp rows)
{
    PRODUCT(fma(one, y[i], to[i]))
}
#else
#define multiply multiply_plainly
#endif

static void
count_all(const Pool *pool, const Register *out, const Register *a, npy_intp rows)
{
    for (npy_intp row = 0; row < rows; row++) {
        count_words(pool, ((PyObject *const *)a->at)[row], (float *)out->at + row * out->width);
    }
}

/* All steps for the rows of a block. */
static void
run_block(const Front *front, npy_intp rows)
{
    for (npy_intp i = 0; i < front->steps; i++) {
        const Step *step = front->step + i;
        const Register *out = front->at + step->out, *a = front->at + step->a, *b = front->at + step->b;
        switch (step->op) {
        case COPY: copy(out, a, step->extra, rows); break;
        case PICK: pick(out, a, b, rows); break;
        case CAST: cast(out, a, rows); break;
        case IS_NAN: find_nan(out, a, rows); break;
        case WHERE: choose(out, a, b, front->at + step->c, rows); break;
        case EQUAL: compare(out, a, b, rows); break;
        case SQRT: take_roots(out, a, rows); break;
        case MATMUL: multiply(out, a, b, rows); break;
        case CUMSUM: add_up(out, a, rows); break;
        case WORDS: count_all(front->pool + step->extra, out, a, rows); break;
        default: calculate(step->op, out, a, b, rows);
        }
    }
}

/* ---- What a step may be. */

static int
is_floating(const Register *one)
{
    return one->type == F32 || one->type == F64;
}

/* Whether two tables can meet in one of this width: each has it, or is one column. */
static int
meet(const Register *a, const Register *b, int64_t width)
{
    return (a->width == width || a->width == 1) && (b->width == width || b->width == 1) && (a->width == width || b->width == width);
}

static int
step_fits(const Front *front, const Step *step)
{
    const Register *out = front->at + step->out, *a = front->at + step->a, *b = front->at + step->b, *c = front->at + step->c;
    int of_one = !a->is_constant && a->width == out->width;
    switch (step->op) {
    case COPY:
        return !a->is_constant && a->type == out->type && a->type != TEXT && step->extra >= 0 &&
               step->extra <= out->width - a->width;
    case PICK:
        for (int64_t i = 0; b->is_constant && b->type == I64 && i < b->width; i++) {
            if (((const int64_t *)b->at)[i] < 0 || ((const int64_t *)b->at)[i] >= a->width) {
                return 0;
            }
        }
        return !a->is_constant && a->type == out->type && a->type != FLAG && a->type != TEXT && b->is_constant &&
               b->type == I64 && b->width == out->width;
    case CAST:
        return of_one && a->type != TEXT && (is_floating(out) || a->type == out->type);
    case IS_NAN: return of_one && is_floating(a) && out->type == FLAG;
    case WHERE:
        return a->type == FLAG && (a->width == out->width || a->width == 1) && b->type == out->type && c->type == out->type &&
               is_floating(out) && (b->width == out->width || b->width == 1) && (c->width == out->width || c->width == 1);
    case ADD:
    case SUB:
    case MUL:
    case DIV: return is_floating(out) && a->type == out->type && b->type == out->type && meet(a, b, out->width);
    case EQUAL:
        return out->type == FLAG && a->type == b->type && (is_floating(a) || a->type == I64) && meet(a, b, out->width);
    case SQRT: return of_one && is_floating(a) && a->type == out->type;
    case CUMSUM: return of_one && a->type == F64 && out->type == F64;
    case MATMUL:
        return out->type == F64 && a->type == F64 && b->type == F64 && !a->is_constant && b->is_constant &&
               a->width <= MOST_INNER && b->width == a->width * out->width;
    case WORDS:
        return a->type == TEXT && a->width == 1 && !a->is_constant && out->type == F32 && step->extra >= 0 &&
               step->extra < front->pools && front->pool[step->extra].count == out->width;
    }
    return 0;
}

/* Whether a step can be: its registers are there, those that it reads were written before, and it writes another one. */
static int
is_sound(const Front *front, const Step *step, uint8_t *written)
{
    const int64_t places[] = {step->out, step->a, step->b, step->c};
    if (step->op < 0 || step->op >= OPERATORS) {
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        if (places[i] < 0 || places[i] >= front->registers || (i && (places[i] == step->out || !written[places[i]]))) {
            return 0;
        }
    }
    if (step->out < front->inputs || front->at[step->out].is_constant || !step_fits(front, step)) {
        return 0;
    }
    written[step->out] = 1;
    return 1;
}

/* ---- Linking. */

static void
free_front(Front *front)
{
    for (npy_intp i = 0; front->pool != NULL && i < front->pools; i++) {
        PyMem_Free(front->pool[i].table);
    }
    PyMem_Free(front->pool);
    PyMem_Free(front->at);
    PyMem_Free(front->step);
    PyMem_Free(front->arena);
    Py_XDECREF(front->names);
    Py_XDECREF(front->constants);
    PyMem_Free(front);
}

static void
drop_front(PyObject *capsule)
{
    free_front(PyCapsule_GetPointer(capsule, CAPSULE));
}

/* The registers: type, width, and the place among the constants or -1. Whether they can be. */
static int
link_registers(Front *front, const int64_t *table, PyObject *constants)
{
    static const int numpy_of[] = {NPY_FLOAT32, NPY_FLOAT64, NPY_INT64};
    for (npy_intp i = 0; i < front->registers; i++) {
        Register *one = front->at + i;
        int64_t place = table[3 * i + 2];
        one->type = table[3 * i];
        one->width = table[3 * i + 1];
        one->is_constant = place >= 0;
        if (one->type < 0 || one->type >= TYPES || one->width < 1 || one->width > MOST_WIDTH * (one->is_constant ? MOST_INNER : 1)) {
            return 0;
        }
        if (one->is_constant) {
            if (place >= PyTuple_GET_SIZE(constants) || one->type > I64) {
                return 0;
            }
            PyArrayObject *values = array(PyTuple_GET_ITEM(constants, place), numpy_of[one->type], 1, TO_READ, "a constant");
            if (values == NULL || !is_long(values, one->width)) {
                return 0;
            }
            one->at = PyArray_DATA(values);
        }
        if (i < front->inputs && (one->is_constant || one->width != 1 || one->type == FLAG)) {
            return 0;
        }
    }
    return 1;
}

static int
link_pools(Front *front, PyObject *pools)
{
    for (npy_intp i = 0; i < front->pools; i++) {
        int made = fill_pool(PyTuple_GET_ITEM(pools, i), front->pool + i);
        if (made <= 0) {
            return 0;
        }
    }
    return 1;
}

static int
link_steps(Front *front, const int64_t *table)
{
    uint8_t *written = PyMem_Calloc((size_t)front->registers, 1);
    int sound = written != NULL;
    if (!sound) {
        PyErr_NoMemory();
    }
    for (npy_intp i = 0; sound && i < front->registers; i++) {
        written[i] = i < front->inputs || front->at[i].is_constant;
    }
    for (npy_intp i = 0; sound && i < front->steps; i++) {
        memcpy(front->step + i, table + 6 * i, sizeof *front->step);
        sound = is_sound(front, front->step + i, written);
    }
    sound = sound && front->output >= front->inputs && written[front->output] && front->at[front->output].type == F32 &&
            !front->at[front->output].is_constant;
    PyMem_Free(written);
    return sound;
}

/* Bytes for the rows of a block, whole lines of the cache; a constant has its own. */
static size_t
room_for(const Register *one)
{
    return one->is_constant ? 0 : ((size_t)(BLOCK * one->width * size_of[one->type]) + 63) / 64 * 64;
}

/* Room for the rows of a block in every register. */
static int
make_room(Front *front)
{
    size_t room = 64;
    for (npy_intp i = 0; i < front->registers; i++) {
        room += room_for(front->at + i);
    }
    if ((front->arena = PyMem_Calloc(room, 1)) == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    char *next = front->arena + (64 - (uintptr_t)front->arena % 64) % 64;
    for (npy_intp i = 0; i < front->registers; i++) {
        if (!front->at[i].is_constant) {
            front->at[i].at = next;
            next += room_for(front->at + i);
        }
    }
    return 1;
}

PyObject *
link_front(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 6, "link_front")) {
        return NULL;
    }
    PyArrayObject *registers = array(given[1], NPY_INT64, 2, TO_READ, "registers");
    PyArrayObject *steps = array(given[3], NPY_INT64, 2, TO_READ, "steps");
    npy_intp output = PyLong_AsSsize_t(given[5]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    PyObject *names = given[0], *constants = given[2], *pools = given[4];
    if (!PyTuple_Check(names) || !PyTuple_Check(constants) || !PyTuple_Check(pools)) {
        PyErr_SetString(PyExc_TypeError, "names, constants and words are tuples");
        return NULL;
    }
    Front *front = PyMem_Calloc(1, sizeof *front);
    if (front == NULL) {
        return PyErr_NoMemory();
    }
    front->registers = PyArray_DIM(registers, 0);
    front->steps = PyArray_DIM(steps, 0);
    front->inputs = PyTuple_GET_SIZE(names);
    front->pools = PyTuple_GET_SIZE(pools);
    front->output = output;
    front->names = Py_NewRef(names);
    front->constants = PyTuple_Pack(2, constants, pools);
    front->at = PyMem_Calloc((size_t)front->registers + 1, sizeof *front->at);
    front->step = PyMem_Calloc((size_t)front->steps + 1, sizeof *front->step);
    front->pool = PyMem_Calloc((size_t)front->pools + 1, sizeof *front->pool);
    int linked = 0;
    if (front->constants == NULL || front->at == NULL || front->step == NULL || front->pool == NULL) {
        PyErr_NoMemory();
    }
    else {
        linked = is_table(registers, front->registers, 3) && is_table(steps, front->steps, 6) &&
                 front->inputs <= front->registers && output >= 0 && output < front->registers &&
                 link_registers(front, PyArray_DATA(registers), constants) && link_pools(front, pools) &&
                 link_steps(front, PyArray_DATA(steps)) && make_room(front);
        if (!linked && !PyErr_Occurred()) {
            unfit();
        }
    }
    PyObject *made = linked ? PyCapsule_New(front, CAPSULE, drop_front) : NULL;
    if (made == NULL) {
        free_front(front);
    }
    return made;
}

/* ---- Running. */

/* The columns of a run, in the order of the inputs. 1, 0 where ONNX Runtime is to take them, -1 with an error. */
static int
find_columns(const Front *front, PyObject *given, PyArrayObject **columns, npy_intp *rows)
{
    static const int numpy_of[] = {NPY_FLOAT32, NPY_FLOAT64, NPY_INT64, NPY_NOTYPE, NPY_OBJECT};
    for (npy_intp i = 0; i < front->inputs; i++) {
        PyObject *name = PyTuple_GET_ITEM(front->names, i);
        PyArrayObject *column = (PyArrayObject *)PyDict_GetItemWithError(given, name);
        if (column == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetObject(PyExc_KeyError, name);
            }
            return -1;
        }
        if (!PyArray_Check(column) || PyArray_NDIM(column) != 1 || !PyArray_ISBEHAVED_RO(column)) {
            return 0;
        }
        int type = PyArray_TYPE(column), wanted = numpy_of[front->at[i].type];
        int same = type == wanted || (wanted == NPY_INT64 && PyTypeNum_ISSIGNED(type) && PyArray_ITEMSIZE(column) == 8);
        if (!same || (i && PyArray_DIM(column, 0) != *rows)) {
            return 0;
        }
        *rows = PyArray_DIM(column, 0);
        columns[i] = column;
    }
    return 1;
}

/* Whether it is a text that ONNX Runtime reads as it is: it has UTF-8, and no NUL, which would end it. */
static int
is_plain_text(PyObject *text)
{
    if (text == NULL || !PyUnicode_CheckExact(text)) {
        return 0;
    }
    Py_ssize_t size;
    const char *at = PyUnicode_AsUTF8AndSize(text, &size);
    if (at == NULL) { /* ONNX Runtime says what is wrong with it */
        PyErr_Clear();
        return 0;
    }
    return memchr(at, 0, (size_t)size) == NULL;
}

/* Some rows of a column into its register. 0: one is no plain text. */
static int
load(const Register *to, PyArrayObject *column, npy_intp first, npy_intp rows)
{
    npy_intp step = PyArray_STRIDE(column, 0), size = size_of[to->type];
    const char *from = (const char *)PyArray_DATA(column) + first * step;
    for (npy_intp row = 0; row < rows; row++, from += step) {
        memcpy((char *)to->at + row * size, from, (size_t)size);
    }
    for (npy_intp row = 0; to->type == TEXT && row < rows; row++) {
        if (!is_plain_text(((PyObject *const *)to->at)[row])) {
            return 0;
        }
    }
    return 1;
}

/* Whether all rows were done: else ONNX Runtime is to take them. */
static int
run_blocks(const Front *front, PyArrayObject *const *columns, npy_intp rows, char *to)
{
    const Register *out = front->at + front->output;
    npy_intp width = out->width * size_of[F32];
    for (npy_intp first = 0; first < rows; first += BLOCK) {
        npy_intp here = rows - first < BLOCK ? rows - first : BLOCK;
        for (npy_intp i = 0; i < front->inputs; i++) {
            if (!load(front->at + i, columns[i], first, here)) {
                return 0;
            }
        }
        run_block(front, here);
        memcpy(to + first * width, out->at, (size_t)(here * width));
    }
    return 1;
}

PyObject *
run_front(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 2, "run_front")) {
        return NULL;
    }
    const Front *front = PyCapsule_GetPointer(given[0], CAPSULE);
    if (front == NULL) {
        return NULL;
    }
    if (!PyDict_Check(given[1])) {
        PyErr_SetString(PyExc_TypeError, "columns is a dict");
        return NULL;
    }
    PyArrayObject **columns = PyMem_Calloc((size_t)front->inputs + 1, sizeof *columns), *made = NULL;
    npy_intp shape[2] = {0, front->at[front->output].width};
    if (columns == NULL) {
        return PyErr_NoMemory();
    }
    int done = find_columns(front, given[1], columns, &shape[0]);
    if (done > 0) {
        made = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT32);
        done = made == NULL ? -1 : run_blocks(front, columns, shape[0], PyArray_DATA(made));
    }
    PyMem_Free(columns);
    if (done > 0) {
        return (PyObject *)made;
    }
    Py_XDECREF(made);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}
