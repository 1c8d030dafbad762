/* SPDX-License-Identifier: Apache-2.0 */
/* The naive means, which every model has to beat. A complete plugin in plain C: this file, cdrzoo/plugin.h, libc, libm.
 *
 * All six models are one formula. A model is a list of levels (drug, sample, tissue, drug x tissue), and it predicts
 *
 *     y_hat = mu + sum over levels l of e_l(g_l)
 *     e_l(g) = n_g / (n_g + lambda) * mean over training rows of group g of (y - mu - effects of the earlier levels)
 *
 * where mu is the mean of all training rows and g_l the row's group at level l. A group that training did not hold has
 * effect 0, so "fall back to the drug's mean, then to the global mean" needs no code of its own:
 *
 *     levels []                     mu
 *     levels [drug], lambda 0       mu + (mean of drug - mu) = mean of the drug; mu for a new drug
 *     levels [drug, drug x tissue]  mean of the drug in the tissue; else of the drug; else mu
 *     levels [drug, sample]         the additive mean effects, shrunken by lambda
 *
 * A target may have several columns (an expression profile): each column is treated alone. Sums are kept in double.
 *
 * How to read it as an example: the table of models (1) and the entry function (6) are what a plugin says about itself;
 * (2) reads what the host hands over; (3) is the mathematics; (4) are the operations of the ABI; (5) is save and load.
 */
#include <cdrzoo/entry.h>
#include <cdrzoo/plugin.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cards.h"

/* ---- 1. the models ---- */

/* What forms the group of a level; several may be combined. */
#define BY_DRUG 1
#define BY_SAMPLE 2
#define BY_TISSUE 4

#define MAX_LEVELS 2

typedef struct Kind {
  const char* id;
  int n_levels;
  int levels[MAX_LEVELS]; /* BY_*, in the order in which the effects are taken out */
  int is_mean;            /* predicts weighted means of training values: of labels, that is a probability */
} Kind;

/* In the order of kTypes at the end of the file. */
static const Kind kKinds[] = {
    {"baseline.global_mean", 0, {0, 0}, 1},
    {"baseline.drug_mean", 1, {BY_DRUG, 0}, 1},
    {"baseline.sample_mean", 1, {BY_SAMPLE, 0}, 1},
    {"baseline.tissue_mean", 1, {BY_TISSUE, 0}, 1},
    {"baseline.drug_tissue_mean", 2, {BY_DRUG, BY_DRUG | BY_TISSUE}, 1},
    {"baseline.mean_effects", 2, {BY_DRUG, BY_SAMPLE}, 0},
};

/* A group's identity: the keys of its drug or sample, and the code of its tissue. A part that a level does not use is
 * 0; a sample and a drug never meet in one level. */
typedef struct GroupKey {
  int64_t entity;
  int64_t tissue;
} GroupKey;

/* The fitted effects of one level. */
typedef struct Level {
  int64_t n_groups;
  GroupKey* key;  /* [n_groups], ascending */
  double* effect; /* [n_groups, n_targets] */
} Level;

struct cdrzoo_model {
  const Kind* kind;
  int64_t n_targets;
  int bounded;   /* predictions are probabilities */
  double lambda; /* rows; 0 = plain means */
  int fitted;
  double* mu; /* [n_targets] */
  Level level[MAX_LEVELS];
};

static cdrzoo_str text(const char* s) {
  cdrzoo_str out = {s, strlen(s)};
  return out;
}

static int equal(cdrzoo_str a, const char* b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

/* Reports one sentence to the host and returns the code, so that a check is one line: return fail(...). */
static cdrzoo_status fail(cdrzoo_call* call, cdrzoo_status code, const char* where, const char* format, ...) {
  char message[512];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(message, sizeof message, format, args);
  va_end(args);
  call->host->fail(call, code, text(message), text(where));
  return code;
}

static cdrzoo_status no_memory(cdrzoo_call* call, const char* where) {
  return fail(call, CDRZOO_E_MEMORY, where, "out of memory");
}

/* calloc(0) may return NULL, which would read as an error. */
static void* new_array(int64_t count, size_t element) { return calloc(count > 0 ? (size_t)count : 1, element); }

/* ---- 2. reading a view ---- */

/* One row index column with the keys of its entities. */
typedef struct Axis {
  const int32_t* row; /* [n_obs] */
  const int64_t* key; /* [entities] */
} Axis;

/* What the levels of a model need from a view; members that they do not need stay NULL. */
typedef struct Rows {
  int64_t n;
  Axis drug, sample;
  const int32_t* tissue; /* [samples], -1 = not known */
} Rows;

static const cdrzoo_entities* find_entities(const cdrzoo_view* view, int32_t axis) {
  for (uint64_t i = 0; i < view->entities.count; i++) {
    const cdrzoo_entities* entities = CDRZOO_AT(view->entities, cdrzoo_entities, i);
    if (entities->axis == axis) return entities;
  }
  return NULL;
}

static const int32_t* find_column(const cdrzoo_view* view, int32_t role) {
  for (uint64_t i = 0; i < view->columns.count; i++) {
    const cdrzoo_column* column = CDRZOO_AT(view->columns, cdrzoo_column, i);
    if (column->role == role && column->array.dtype == CDRZOO_I32) return (const int32_t*)column->array.data;
  }
  return NULL;
}

static const int32_t* find_codes(const cdrzoo_entities* entities, const char* name) {
  for (uint64_t i = 0; i < entities->blocks.count; i++) {
    const cdrzoo_block* block = CDRZOO_AT(entities->blocks, cdrzoo_block, i);
    if (block->kind != CDRZOO_BLOCK_CODES || !equal(block->name, name)) continue;
    for (uint64_t p = 0; p < block->parts.count; p++) {
      const cdrzoo_part* part = CDRZOO_AT(block->parts, cdrzoo_part, p);
      if (part->role == CDRZOO_PART_VALUES && part->array.dtype == CDRZOO_I32) return part->array.data;
    }
  }
  return NULL;
}

static cdrzoo_status read_axis(cdrzoo_call* call, const cdrzoo_view* view, int32_t axis, int32_t role, const char* name,
                               Axis* out) {
  const cdrzoo_entities* entities = find_entities(view, axis);
  out->row = find_column(view, role);
  if (entities == NULL || out->row == NULL) {
    return fail(call, CDRZOO_E_DATA, "view", "the observations have no %s column, and this model groups by %s", name,
                name);
  }
  out->key = (const int64_t*)entities->key.data;
  return CDRZOO_OK;
}

static cdrzoo_status read_rows(cdrzoo_call* call, const Kind* kind, const cdrzoo_view* view, Rows* out) {
  int needs = 0;
  cdrzoo_status status;
  memset(out, 0, sizeof *out);
  out->n = view->n_obs;
  if (view->n_obs == 0) return CDRZOO_OK;
  for (int l = 0; l < kind->n_levels; l++) needs |= kind->levels[l];
  if (needs & BY_DRUG) {
    status = read_axis(call, view, CDRZOO_AXIS_DRUG, CDRZOO_COLUMN_DRUG, "drug", &out->drug);
    if (status != CDRZOO_OK) return status;
  }
  if (needs & (BY_SAMPLE | BY_TISSUE)) {
    status = read_axis(call, view, CDRZOO_AXIS_SAMPLE, CDRZOO_COLUMN_SAMPLE, "sample", &out->sample);
    if (status != CDRZOO_OK) return status;
  }
  if (needs & BY_TISSUE) {
    out->tissue = find_codes(find_entities(view, CDRZOO_AXIS_SAMPLE), "tissue");
    if (out->tissue == NULL) return fail(call, CDRZOO_E_DATA, "view", "the samples have no block \"tissue\"");
  }
  return CDRZOO_OK;
}

/* The group of row i at a level. 0 when it has none, because its tissue is not known. */
static int group_of(const Rows* rows, int by, int64_t i, GroupKey* out) {
  out->entity = 0;
  out->tissue = 0;
  if (by & BY_DRUG) out->entity = rows->drug.key[rows->drug.row[i]];
  if (by & BY_SAMPLE) out->entity = rows->sample.key[rows->sample.row[i]];
  if (by & BY_TISSUE) out->tissue = rows->tissue[rows->sample.row[i]];
  return out->tissue >= 0;
}

/* ---- 3. the mathematics ---- */

#define ROWS_PER_CHECK 16384 /* rows between two looks at `cancelled` */

static int should_stop(cdrzoo_call* call, int64_t i) { return i % ROWS_PER_CHECK == 0 && call->host->cancelled(call); }

static int compare_keys(const void* a, const void* b) {
  const GroupKey* x = a;
  const GroupKey* y = b;
  if (x->entity != y->entity) return x->entity < y->entity ? -1 : 1;
  if (x->tissue != y->tissue) return x->tissue < y->tissue ? -1 : 1;
  return 0;
}

/* Index of the row's group in the level, or -1: training had no such group. */
static int64_t find_group(const Level* level, const Rows* rows, int by, int64_t i) {
  GroupKey key;
  const GroupKey* found = NULL;
  if (!group_of(rows, by, i, &key)) return -1;
  if (level->n_groups > 0) {
    found = bsearch(&key, level->key, (size_t)level->n_groups, sizeof(GroupKey), compare_keys);
  }
  return found == NULL ? -1 : found - level->key;
}

/* Fills level->key with the distinct groups of the rows. */
static cdrzoo_status find_groups(cdrzoo_call* call, const Rows* rows, int by, Level* level) {
  int64_t n = 0;
  int64_t distinct = 0;
  level->key = new_array(rows->n, sizeof(GroupKey));
  if (level->key == NULL) return no_memory(call, "fit");
  for (int64_t i = 0; i < rows->n; i++) n += group_of(rows, by, i, &level->key[n]);
  qsort(level->key, (size_t)n, sizeof(GroupKey), compare_keys);
  for (int64_t i = 0; i < n; i++) {
    if (i == 0 || compare_keys(&level->key[i], &level->key[i - 1]) != 0) level->key[distinct++] = level->key[i];
  }
  level->n_groups = distinct;
  return CDRZOO_OK;
}

/* The training targets: what is observed, and what the effects found so far leave unexplained. */
typedef struct Residual {
  int64_t n, n_targets;
  double* value;       /* [n, n_targets] */
  const uint8_t* mask; /* [n, mask_stride], or NULL: everything is observed */
  int64_t mask_stride;
} Residual;

static int is_observed(const Residual* r, int64_t i, int64_t t) {
  return r->mask == NULL || r->mask[i * r->mask_stride + t] != 0;
}

static cdrzoo_status read_residual(cdrzoo_call* call, const cdrzoo_view* view, Residual* out) {
  const float* target = (const float*)view->target.data;
  out->value = new_array(out->n * out->n_targets, sizeof(double));
  if (out->value == NULL) return no_memory(call, "fit");
  out->mask = (const uint8_t*)view->target_mask.data;
  out->mask_stride = view->target_mask.stride[0];
  for (int64_t i = 0; i < out->n; i++) {
    for (int64_t t = 0; t < out->n_targets; t++) {
      const double y = (double)target[i * view->target.stride[0] + t];
      if (!is_observed(out, i, t)) continue;
      if (!isfinite(y)) {
        return fail(call, CDRZOO_E_DATA, "fit", "target %lld of training row %lld is not finite", (long long)t,
                    (long long)i);
      }
      out->value[i * out->n_targets + t] = y;
    }
  }
  return CDRZOO_OK;
}

/* mu, and takes it out of the residual. */
static cdrzoo_status fit_global(cdrzoo_call* call, double* mu, Residual* r) {
  for (int64_t t = 0; t < r->n_targets; t++) {
    int64_t count = 0;
    double sum = 0;
    for (int64_t i = 0; i < r->n; i++) {
      if (!is_observed(r, i, t)) continue;
      sum += r->value[i * r->n_targets + t];
      count++;
    }
    if (count == 0) return fail(call, CDRZOO_E_DATA, "fit", "target %lld has no training value", (long long)t);
    mu[t] = sum / (double)count;
    for (int64_t i = 0; i < r->n; i++) r->value[i * r->n_targets + t] -= mu[t];
    if (should_stop(call, 0)) return CDRZOO_E_CANCELLED;
  }
  return CDRZOO_OK;
}

/* The shrunken effects of one level, and takes them out of the residual. */
static cdrzoo_status fit_level(cdrzoo_call* call, const Rows* rows, int by, double lambda, Level* level, Residual* r) {
  const int64_t k = r->n_targets;
  cdrzoo_status status = find_groups(call, rows, by, level);
  int64_t* count = NULL; /* [n_groups, k] */
  if (status != CDRZOO_OK) return status;
  level->effect = new_array(level->n_groups * k, sizeof(double));
  count = new_array(level->n_groups * k, sizeof(int64_t));
  if (level->effect == NULL || count == NULL) {
    free(count);
    return no_memory(call, "fit");
  }
  for (int64_t i = 0; i < r->n && status == CDRZOO_OK; i++) {
    const int64_t g = find_group(level, rows, by, i);
    if (should_stop(call, i)) status = CDRZOO_E_CANCELLED;
    for (int64_t t = 0; g >= 0 && t < k; t++) {
      if (!is_observed(r, i, t)) continue;
      level->effect[g * k + t] += r->value[i * k + t];
      count[g * k + t]++;
    }
  }
  for (int64_t j = 0; j < level->n_groups * k; j++) {
    /* n / (n + lambda) * sum / n; a group without an observed value keeps effect 0 */
    if (count[j] > 0) level->effect[j] /= (double)count[j] + lambda;
  }
  for (int64_t i = 0; i < r->n && status == CDRZOO_OK; i++) {
    const int64_t g = find_group(level, rows, by, i);
    for (int64_t t = 0; g >= 0 && t < k; t++) r->value[i * k + t] -= level->effect[g * k + t];
  }
  free(count);
  return status;
}

static void forget(cdrzoo_model* model) {
  model->fitted = 0;
  free(model->mu);
  model->mu = NULL;
  for (int l = 0; l < MAX_LEVELS; l++) {
    free(model->level[l].key);
    free(model->level[l].effect);
    memset(&model->level[l], 0, sizeof(Level));
  }
}

/* ---- 4. the operations ---- */

static void destroy(cdrzoo_model* model) {
  if (model == NULL) return;
  forget(model);
  free(model);
}

static cdrzoo_status create_kind(cdrzoo_call* call, const Kind* kind, const cdrzoo_problem* problem, cdrzoo_span params,
                                 cdrzoo_model** out) {
  cdrzoo_model* model = NULL;
  *out = NULL;
  switch (problem->task) {
    case CDRZOO_TASK_REGRESSION:
    case CDRZOO_TASK_BINARY:
    case CDRZOO_TASK_EXPRESSION:
    case CDRZOO_TASK_EXPRESSION_CHANGE: break;
    default: return fail(call, CDRZOO_E_UNSUPPORTED, "create", "%s does not know task %d", kind->id, problem->task);
  }
  if (problem->n_targets < 1) {
    return fail(call, CDRZOO_E_ARGUMENT, "create", "n_targets is %d, expected at least 1", problem->n_targets);
  }
  model = calloc(1, sizeof *model);
  if (model == NULL) return no_memory(call, "create");
  model->kind = kind;
  model->n_targets = problem->n_targets;
  model->bounded = kind->is_mean && problem->task == CDRZOO_TASK_BINARY;
  for (uint64_t i = 0; i < params.count; i++) {
    const cdrzoo_value* value = CDRZOO_AT(params, cdrzoo_value, i);
    if (equal(value->key, "lambda")) model->lambda = value->f;
  }
  if (!(model->lambda >= 0) || !isfinite(model->lambda)) {
    const double lambda = model->lambda;
    destroy(model);
    return fail(call, CDRZOO_E_PARAM, "create", "lambda is %g, expected a number >= 0", lambda);
  }
  *out = model;
  return CDRZOO_OK;
}

static cdrzoo_status fit_all(cdrzoo_call* call, cdrzoo_model* model, const Rows* rows, Residual* r) {
  cdrzoo_status status = fit_global(call, model->mu, r);
  for (int l = 0; l < model->kind->n_levels && status == CDRZOO_OK; l++) {
    status = fit_level(call, rows, model->kind->levels[l], model->lambda, &model->level[l], r);
  }
  return status;
}

static cdrzoo_status fit(cdrzoo_call* call, cdrzoo_model* model, const cdrzoo_fit_in* in) {
  Rows rows;
  Residual r;
  cdrzoo_status status;
  memset(&r, 0, sizeof r);
  forget(model);
  if (in->train->n_obs == 0 || in->train->target.data == NULL) {
    return fail(call, CDRZOO_E_DATA, "fit", "there are no labelled training rows");
  }
  if (in->train->target.shape[1] != model->n_targets) {
    return fail(call, CDRZOO_E_ARGUMENT, "fit", "the target has %lld columns, expected %lld",
                (long long)in->train->target.shape[1], (long long)model->n_targets);
  }
  r.n = in->train->n_obs;
  r.n_targets = model->n_targets;
  status = read_rows(call, model->kind, in->train, &rows);
  if (status == CDRZOO_OK) status = read_residual(call, in->train, &r);
  if (status == CDRZOO_OK) {
    model->mu = new_array(model->n_targets, sizeof(double));
    status = model->mu == NULL ? no_memory(call, "fit") : fit_all(call, model, &rows, &r);
  }
  free(r.value);
  if (status == CDRZOO_E_CANCELLED) (void)fail(call, status, "fit", "cancelled");
  if (status != CDRZOO_OK) forget(model);
  model->fitted = status == CDRZOO_OK;
  return status;
}

static cdrzoo_status not_fitted(cdrzoo_call* call, const char* where) {
  return fail(call, CDRZOO_E_STATE, where, "the model is not fitted");
}

static cdrzoo_status predict(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_view* query,
                             cdrzoo_predict_out* out) {
  Rows rows;
  cdrzoo_status status;
  if (!model->fitted) return not_fitted(call, "predict");
  status = read_rows(call, model->kind, query, &rows);
  if (status != CDRZOO_OK) return status;
  if (out->scale != NULL) return fail(call, CDRZOO_E_UNSUPPORTED, "predict", "means have no predictive deviation");
  for (int64_t i = 0; i < rows.n; i++) {
    int64_t group[MAX_LEVELS];
    if (should_stop(call, i)) return fail(call, CDRZOO_E_CANCELLED, "predict", "cancelled");
    for (int l = 0; l < model->kind->n_levels; l++) {
      group[l] = find_group(&model->level[l], &rows, model->kind->levels[l], i);
    }
    for (int64_t t = 0; t < model->n_targets; t++) {
      double y = model->mu[t];
      for (int l = 0; l < model->kind->n_levels; l++) {
        if (group[l] >= 0) y += model->level[l].effect[group[l] * model->n_targets + t];
      }
      if (model->bounded) y = fmin(fmax(y, 0.0), 1.0); /* rounding may leave a sum of effects just outside */
      out->mean[i * out->mean_stride + t] = (float)y;
    }
  }
  return CDRZOO_OK;
}

static int64_t n_effects(const cdrzoo_model* model) {
  int64_t n = model->fitted ? model->n_targets : 0;
  for (int l = 0; l < model->kind->n_levels; l++) n += model->level[l].n_groups * model->n_targets;
  return n;
}

static cdrzoo_status info(cdrzoo_call* call, const cdrzoo_model* model, cdrzoo_model_info* out) {
  (void)call;
  if (out->size > sizeof *out) out->size = (uint32_t)sizeof *out; /* a younger host may know more fields */
  out->flags = 0;
  out->n_parameters = n_effects(model);
  out->embed_dim_sample = 0;
  out->embed_dim_drug = 0;
  out->bytes = sizeof *model + (uint64_t)n_effects(model) * sizeof(double);
  for (int l = 0; l < MAX_LEVELS; l++) out->bytes += (uint64_t)model->level[l].n_groups * sizeof(GroupKey);
  return CDRZOO_OK;
}

/* ---- 5. save and load ---- */

static cdrzoo_array matrix(int32_t dtype, const void* data, int64_t rows, int64_t columns) {
  cdrzoo_array a;
  memset(&a, 0, sizeof a);
  a.dtype = dtype;
  a.rank = 2;
  a.data = rows * columns > 0 ? data : NULL;
  a.bytes = (uint64_t)(rows * columns) * 8; /* f64 and i64 alike */
  a.shape[0] = rows;
  a.shape[1] = columns;
  a.stride[0] = columns;
  a.stride[1] = 1;
  return a;
}

/* "level.0.key", "level.0.effect"; the caller gives room for 32 bytes. */
static cdrzoo_str tensor_name(char* buffer, int level, const char* what) {
  (void)snprintf(buffer, 32, "level.%d.%s", level, what);
  return text(buffer);
}

static cdrzoo_status save(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_state_writer* writer) {
  char name[32];
  cdrzoo_array array;
  cdrzoo_status status;
  if (!model->fitted) return not_fitted(call, "save");
  status = writer->text(writer->ctx, text("model"), text(model->kind->id));
  if (status != CDRZOO_OK) return status;
  array = matrix(CDRZOO_F64, model->mu, 1, model->n_targets);
  status = writer->tensor(writer->ctx, text("mu"), &array);
  for (int l = 0; l < model->kind->n_levels && status == CDRZOO_OK; l++) {
    const Level* level = &model->level[l];
    array = matrix(CDRZOO_I64, level->key, level->n_groups, 2);
    status = writer->tensor(writer->ctx, tensor_name(name, l, "key"), &array);
    if (status != CDRZOO_OK) break;
    array = matrix(CDRZOO_F64, level->effect, level->n_groups, model->n_targets);
    status = writer->tensor(writer->ctx, tensor_name(name, l, "effect"), &array);
  }
  return status;
}

/* Copies a matrix of 8-byte elements; *rows is checked unless it is -1, and filled in then. */
static cdrzoo_status read_matrix(cdrzoo_call* call, const cdrzoo_state_reader* reader, cdrzoo_str name, int32_t dtype,
                                 int64_t* rows, int64_t columns, void** out) {
  cdrzoo_array array;
  const cdrzoo_status status = reader->tensor(reader->ctx, name, &array);
  if (status != CDRZOO_OK) {
    return fail(call, status, "load", "the state has no tensor \"%.*s\"", (int)name.len, name.ptr);
  }
  if (array.dtype != dtype || array.rank != 2 || array.shape[1] != columns || (*rows >= 0 && array.shape[0] != *rows) ||
      array.shape[0] < 0 || array.bytes < (uint64_t)(array.shape[0] * columns) * 8) {
    return fail(call, CDRZOO_E_CORRUPT, "load", "tensor \"%.*s\" has another shape or type than this model saves",
                (int)name.len, name.ptr);
  }
  *rows = array.shape[0];
  *out = new_array(array.shape[0] * columns, 8);
  if (*out == NULL) return no_memory(call, "load");
  if (array.data != NULL) memcpy(*out, array.data, (size_t)(array.shape[0] * columns) * 8);
  return CDRZOO_OK;
}

static cdrzoo_status load_level(cdrzoo_call* call, const cdrzoo_state_reader* reader, int l, int64_t n_targets,
                                Level* level) {
  char name[32];
  void* data = NULL;
  cdrzoo_status status;
  int64_t n_groups = -1;
  status = read_matrix(call, reader, tensor_name(name, l, "key"), CDRZOO_I64, &n_groups, 2, &data);
  level->key = data;
  if (status != CDRZOO_OK) return status;
  data = NULL;
  status = read_matrix(call, reader, tensor_name(name, l, "effect"), CDRZOO_F64, &n_groups, n_targets, &data);
  level->effect = data;
  if (status != CDRZOO_OK) return status;
  for (int64_t g = 1; g < n_groups; g++) {
    if (compare_keys(&level->key[g - 1], &level->key[g]) >= 0) {
      return fail(call, CDRZOO_E_CORRUPT, "load", "the groups of level %d are not ascending", l);
    }
  }
  level->n_groups = n_groups;
  return CDRZOO_OK;
}

static cdrzoo_status load_kind(cdrzoo_call* call, const Kind* kind, const cdrzoo_problem* problem, cdrzoo_span params,
                               const cdrzoo_state_reader* reader, cdrzoo_model** out) {
  cdrzoo_str id = {NULL, 0};
  cdrzoo_model* model = NULL;
  void* data = NULL;
  int64_t one = 1;
  cdrzoo_status status = create_kind(call, kind, problem, params, &model);
  *out = NULL;
  if (status != CDRZOO_OK) return status;
  if (reader->text(reader->ctx, text("model"), &id) != CDRZOO_OK || !equal(id, kind->id)) {
    destroy(model);
    return fail(call, CDRZOO_E_CORRUPT, "load", "the state belongs to \"%.*s\", not to %s", (int)id.len,
                id.ptr == NULL ? "" : id.ptr, kind->id);
  }
  status = read_matrix(call, reader, text("mu"), CDRZOO_F64, &one, model->n_targets, &data);
  model->mu = data;
  for (int l = 0; l < kind->n_levels && status == CDRZOO_OK; l++) {
    status = load_level(call, reader, l, model->n_targets, &model->level[l]);
  }
  if (status != CDRZOO_OK) {
    destroy(model);
    return status;
  }
  model->fitted = 1;
  *out = model;
  return CDRZOO_OK;
}

/* ---- 6. what the plugin says about itself ---- */

/* create and load get no word on which model is meant, so each type has its own pair: a few lines, not a few copies. */
#define DEFINE_TYPE(index)                                                                                  \
  static cdrzoo_status create_##index(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params, \
                                      cdrzoo_model** out) {                                                 \
    return create_kind(call, &kKinds[index], problem, params, out);                                         \
  }                                                                                                         \
  static cdrzoo_status load_##index(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,   \
                                    const cdrzoo_state_reader* reader, cdrzoo_model** out) {                \
    return load_kind(call, &kKinds[index], problem, params, reader, out);                                   \
  }                                                                                                         \
  static const cdrzoo_ops kOps_##index = {                                                                  \
      sizeof(cdrzoo_ops), 0, create_##index, destroy, fit, predict, save, load_##index, info, NULL};
DEFINE_TYPE(0)
DEFINE_TYPE(1)
DEFINE_TYPE(2)
DEFINE_TYPE(3)
DEFINE_TYPE(4)
DEFINE_TYPE(5)

/* The cards are JSON files beside this one; cdrzoo_add_plugin() turns them into the macros of "cards.h". */
#define TYPE(index, name) \
  { sizeof(cdrzoo_model_type), 0, name##_CARD_ID, name##_CARD, &kOps_##index }

static const cdrzoo_model_type kTypes[] = {
    TYPE(0, GLOBAL_MEAN), TYPE(1, DRUG_MEAN),        TYPE(2, SAMPLE_MEAN),
    TYPE(3, TISSUE_MEAN), TYPE(4, DRUG_TISSUE_MEAN), TYPE(5, MEAN_EFFECTS),
};

CDRZOO_EXPORT cdrzoo_status cdrzoo_plugin_v0(const cdrzoo_offer* offer, cdrzoo_answer* answer) {
  return cdrzoo_answer_offer(offer, answer, 0, kTypes, sizeof kTypes / sizeof kTypes[0]);
}
