/* The leaves of boosted trees, added up for many rows at once.

   To walk down a tree is to guess at each branch, and on small trees half of the time goes into wrong guesses. For a
   group of rows all comparisons of a tree are made, each over all rows, and the leaf that a row reaches is selected
   without a jump: more comparisons, none of them waited for. That costs the same for any number of rows, so a few walk. */

#define NO_IMPORT_ARRAY
#include "_core.h"

enum { LEAF = -1, END = -2 }; /* lockstep.trees writes them */

#define DEEPEST 64 /* parts of a tree that wait for a comparison; lockstep.trees leaves others to ONNX Runtime */
#define GROUP 64   /* rows, in loops that the compiler unrolls and vectorises */

/* A comparison, or a leaf. The two parts that it chooses between are nodes before it. */
typedef struct {
    float threshold;
    int32_t column; /* among those that the trees look at; LEAF */
    int32_t left, right;
    int32_t slot; /* where a group's leaves are kept until they are chosen from */
    int32_t missing; /* whether NaN goes left */
} Node;

typedef struct {
    npy_intp columns, nodes, trees;
    npy_intp widest; /* features that rows have at least */
    npy_intp few; /* rows that walk */
    int64_t *column;
    Node *node;
    double *leaf; /* by node */
    int32_t *root; /* by tree, its last node; the first one comes after the root before */
    double base;
} Trees;

#define NAME "lockstep._core.trees"

static void
free_trees(PyObject *capsule)
{
    Trees *trees = PyCapsule_GetPointer(capsule, NAME);
    PyMem_Free(trees->column);
    PyMem_Free(trees->node);
    PyMem_Free(trees->leaf);
    PyMem_Free(trees->root);
    PyMem_Free(trees);
}

/* Nodes of a program in postfix; whether every step finds what it takes: a comparison two parts, an end one. */
static int
link_nodes(Trees *trees, const int64_t *steps, const double *values, const npy_bool *missing, npy_intp count)
{
    int32_t waiting[DEEPEST];
    int depth = 0;
    for (npy_intp i = 0; i < count; i++) {
        int32_t place = (int32_t)trees->nodes;
        Node *node = trees->node + place;
        if (steps[i] == END) {
            if (depth != 1) {
                return 0;
            }
            trees->root[trees->trees++] = waiting[--depth];
            continue;
        }
        if (steps[i] == LEAF && depth < DEEPEST) {
            *node = (Node){.column = LEAF};
        }
        else if (steps[i] >= 0 && steps[i] < trees->columns && depth >= 2) {
            depth -= 2;
            *node = (Node){(float)values[i], (int32_t)steps[i], waiting[depth], waiting[depth + 1], depth, missing[i]};
        }
        else {
            return 0;
        }
        trees->leaf[place] = values[i];
        waiting[depth++] = place;
        trees->nodes++;
    }
    return depth == 0;
}

/* Measured on trees of 4 to 64 leaves: a group takes as long as so many rows that walk. A tree has one leaf more than it
   has comparisons. */
static npy_intp
few_rows(const Trees *trees)
{
    return 6 + (trees->trees ? (trees->nodes - trees->trees) / (4 * trees->trees) : 0);
}

PyObject *
link_trees(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 5, "link_trees")) {
        return NULL;
    }
    PyArrayObject *columns = array(given[0], NPY_INT64, 1, TO_READ, "columns");
    PyArrayObject *steps = array(given[1], NPY_INT64, 1, TO_READ, "steps");
    PyArrayObject *values = array(given[2], NPY_FLOAT64, 1, TO_READ, "values");
    PyArrayObject *missing = array(given[3], NPY_BOOL, 1, TO_READ, "missing");
    double base = PyFloat_AsDouble(given[4]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    npy_intp length = PyArray_DIM(steps, 0), used = PyArray_DIM(columns, 0);
    if (!is_long(values, length) || !is_long(missing, length) || length > INT32_MAX || used > INT32_MAX ||
        !are_places(columns, INT32_MAX)) {
        return unfit();
    }
    Trees *trees = PyMem_Calloc(1, sizeof *trees);
    PyObject *made = trees == NULL ? PyErr_NoMemory() : PyCapsule_New(trees, NAME, free_trees);
    if (made == NULL) {
        PyMem_Free(trees);
        return NULL;
    }
    trees->column = PyMem_Calloc((size_t)used + 1, sizeof *trees->column);
    trees->node = PyMem_Calloc((size_t)length + 1, sizeof *trees->node);
    trees->leaf = PyMem_Calloc((size_t)length + 1, sizeof *trees->leaf);
    trees->root = PyMem_Calloc((size_t)length + 1, sizeof *trees->root);
    if (trees->column == NULL || trees->node == NULL || trees->leaf == NULL || trees->root == NULL) {
        Py_DECREF(made);
        return PyErr_NoMemory();
    }
    trees->columns = used;
    trees->base = base;
    for (npy_intp i = 0; i < used; i++) {
        trees->column[i] = *(int64_t *)PyArray_GETPTR1(columns, i);
        trees->widest = trees->column[i] < trees->widest ? trees->widest : trees->column[i] + 1;
    }
    if (!link_nodes(trees, PyArray_DATA(steps), PyArray_DATA(values), PyArray_DATA(missing), length)) {
        Py_DECREF(made);
        return unfit();
    }
    trees->few = few_rows(trees);
    return made;
}

/* ---- A row alone. */

static double
walk(const Trees *trees, const float *features)
{
    double sum = 0;
    for (npy_intp i = 0; i < trees->trees; i++) {
        int32_t place = trees->root[i];
        const Node *node = trees->node + place;
        while (node->column != LEAF) {
            float value = features[trees->column[node->column]];
            int left = value <= node->threshold || (node->missing && value != value);
            place = left ? node->left : node->right;
            node = trees->node + place;
        }
        sum += trees->leaf[place];
    }
    return sum;
}

/* ---- A group of rows. */

/* Which leaves the rows reach, each by its node: of two leaves, of a leaf and a part, of two parts. */
static inline void
choose(const Node *nodes, const Node *node, int nan_goes_left, const float *value, int32_t (*room)[GROUP])
{
    const int32_t *left = nodes[node->left].column == LEAF ? NULL : room[nodes[node->left].slot];
    const int32_t *right = nodes[node->right].column == LEAF ? NULL : room[nodes[node->right].slot];
    const float threshold = node->threshold;
    const int32_t left_leaf = node->left, right_leaf = node->right;
    int32_t *reached = room[node->slot];
#define CHOOSE(LEFT, RIGHT)                                                                                            \
    for (int row = 0; row < GROUP; row++) {                                                                            \
        int32_t if_left = LEFT, if_right = RIGHT; /* NaN is not greater */                                             \
        reached[row] = (nan_goes_left ? !(value[row] > threshold) : value[row] <= threshold) ? if_left : if_right;     \
    }
    if (left == NULL && right == NULL) {
        CHOOSE(left_leaf, right_leaf)
    }
    else if (left == NULL) {
        CHOOSE(left_leaf, right[row])
    }
    else if (right == NULL) {
        CHOOSE(left[row], right_leaf)
    }
    else {
        CHOOSE(left[row], right[row])
    }
#undef CHOOSE
}

/* Add up tree by tree, as ONNX Runtime does. `columns`: shape (columns, GROUP). */
static void
add_up(const Trees *trees, const float *columns, double *sums)
{
    int32_t room[DEEPEST][GROUP];
    const Node *nodes = trees->node;
    for (npy_intp tree = 0, place = 0; tree < trees->trees; tree++) {
        npy_intp root = trees->root[tree];
        for (; place <= root; place++) {
            const Node *node = nodes + place;
            if (node->column == LEAF) {
                continue;
            }
            const float *value = columns + (npy_intp)node->column * GROUP;
            if (node->missing) {
                choose(nodes, node, 1, value, room);
            }
            else {
                choose(nodes, node, 0, value, room);
            }
        }
        int is_leaf = nodes[root].column == LEAF;
        for (int row = 0; row < GROUP; row++) {
            sums[row] += trees->leaf[is_leaf ? root : room[nodes[root].slot][row]];
        }
    }
}

/* The rows' values of the columns that the trees look at, column by column; zeros where the group is not full. */
static void
turn(const Trees *trees, const float *from, npy_intp features, npy_intp rows, float *to)
{
    for (npy_intp i = 0; i < trees->columns; i++, to += GROUP) {
        for (npy_intp row = 0; row < GROUP; row++) {
            to[row] = row < rows ? from[row * features + trees->column[i]] : 0.0f;
        }
    }
}

PyObject *
sum_trees(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    if (!expects(count, 2, "sum_trees")) {
        return NULL;
    }
    const Trees *trees = PyCapsule_GetPointer(given[0], NAME);
    PyArrayObject *features = trees == NULL ? NULL : array(given[1], NPY_FLOAT32, 2, TO_READ, "features");
    if (features == NULL) {
        return NULL;
    }
    npy_intp shape[2] = {PyArray_DIM(features, 0), 1}, width = PyArray_DIM(features, 1);
    if (width < trees->widest) {
        return unfit();
    }
    npy_intp rows = shape[0], first = 0;
    float *group = NULL;
    if (rows > trees->few && (group = PyMem_Malloc(((size_t)trees->columns + 1) * GROUP * sizeof *group)) == NULL) {
        return PyErr_NoMemory();
    }
    PyArrayObject *made = (PyArrayObject *)PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (made == NULL) {
        PyMem_Free(group);
        return NULL;
    }
    const float *from = PyArray_DATA(features);
    float *score = PyArray_DATA(made);
    while (rows - first > trees->few) {
        double sums[GROUP] = {0};
        npy_intp here = rows - first < GROUP ? rows - first : GROUP;
        turn(trees, from + first * width, width, here, group);
        add_up(trees, group, sums);
        for (npy_intp row = 0; row < here; row++) {
            score[first++] = (float)(sums[row] + trees->base);
        }
    }
    for (; first < rows; first++) {
        score[first] = (float)(walk(trees, from + first * width) + trees->base);
    }
    PyMem_Free(group);
    return (PyObject *)made;
}
