/* SPDX-License-Identifier: Apache-2.0 */
/* The reference plugin of the conformance tests: a linear model on expression with a weight per drug, trained by
 * stochastic gradient descent. Plain C, nothing but the two ABI headers.
 *
 * Compiled as it is, it passes every check of `cdrzoo verify`. Compiled with -DFAULT_<CHECK> it has one deliberate
 * fault, and must fail the check of that name and no other: that is the test of the verifier. */
#define _GNU_SOURCE
#include <cdrzoo/plugin.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STR(literal) ((cdrzoo_str){literal, sizeof literal - 1})
#define MAX_DRUGS 64

#define CLAIM_STOCHASTIC "true"
#ifdef FAULT_MISSING
#define CLAIM_MISSING "true" /* and NaN goes straight into the sums */
#else
#define CLAIM_MISSING "false"
#endif
#ifdef FAULT_SPARSE_TARGETS
#define CLAIM_SPARSE_TARGETS "true" /* and where there are no dense ones it takes 0 for the target */
#else
#define CLAIM_SPARSE_TARGETS "false"
#endif
#ifdef FAULT_PROBABILITIES
#define CLAIM_PROBABILITIES "true" /* and binary predictions are raw scores */
#else
#define CLAIM_PROBABILITIES "false"
#endif
#ifdef FAULT_EMBED
#define CLAIM_EMBEDS "[\"sample\"]" /* and the rows stay empty */
#else
#define CLAIM_EMBEDS "[]"
#endif

static const char card_text[] =
    "{\"card\": 1, \"id\": \"test.reference\", \"version\": \"1.0.0\", \"title\": \"Linear model for tests\","
    " \"licence\": \"Apache-2.0\", \"tasks\": [\"regression\", \"binary\"],"
    " \"params\": [{\"key\": \"epochs\", \"type\": \"int\", \"default\": 60, \"min\": 1, \"max\": 1000, \"doc\": "
    "\"passes over the data\"},"
    "              {\"key\": \"rate\", \"type\": \"real\", \"default\": 0.02, \"min\": 0, \"max\": 1, \"doc\": "
    "\"learning rate\"}],"
    " \"needs\": {\"samples\": [\"expression\"]},"
    " \"traits\": {\"stochastic\": " CLAIM_STOCHASTIC ", \"accepts_missing\": " CLAIM_MISSING
    ", \"accepts_sparse_targets\": " CLAIM_SPARSE_TARGETS ", \"probabilities\": " CLAIM_PROBABILITIES
    ", \"cancel_latency_s\": 0.5, \"embeds\": " CLAIM_EMBEDS "}}";

/* Weights: an intercept and one per gene, then an effect per drug key (open addressing by the opaque key). */
struct cdrzoo_model {
  int64_t width;
  int64_t epochs;
  double rate;
  int32_t fitted;
  int32_t n_drugs;
  float* weights; /* [width + 1] */
  int64_t drug_key[MAX_DRUGS];
  float drug_effect[MAX_DRUGS];
  long creator;
  float* workspace;
};

static cdrzoo_status fail(cdrzoo_call* call, cdrzoo_status code, const char* message) {
#ifndef FAULT_EXPLAINS
  call->host->fail(call, code, (cdrzoo_str){message, strlen(message)}, STR(""));
#else
  (void)call;
  (void)message;
#endif
  return code;
}

static int same(cdrzoo_str a, const char* b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

/* Element i of a span. */
#ifdef FAULT_FUTURE
#define ELEMENT(span, T, i) ((const T*)(span).data + (i)) /* sizeof instead of the writer's stride */
#else
#define ELEMENT(span, T, i) CDRZOO_AT(span, T, i)
#endif

static const cdrzoo_entities* axis_of(cdrzoo_span entities, int32_t axis) {
  for (uint64_t i = 0; i < entities.count; ++i) {
    const cdrzoo_entities* e = ELEMENT(entities, cdrzoo_entities, i);
    if (e->axis == axis) return e;
  }
  return NULL;
}

static const cdrzoo_block* block_of(const cdrzoo_entities* entities, const char* name) {
  for (uint64_t i = 0; entities != NULL && i < entities->blocks.count; ++i) {
    const cdrzoo_block* b = ELEMENT(entities->blocks, cdrzoo_block, i);
#ifdef FAULT_STRANGERS
    if (b->kind > CDRZOO_BLOCK_GRAPHS) abort(); /* "cannot happen" */
#endif
    if (same(b->name, name)) return b;
  }
  return NULL;
}

static const cdrzoo_array* part_of(const cdrzoo_block* block, int32_t role) {
  for (uint64_t i = 0; block != NULL && i < block->parts.count; ++i) {
    const cdrzoo_part* p = ELEMENT(block->parts, cdrzoo_part, i);
    if (p->role == role) return &p->array;
  }
  return NULL;
}

static const int32_t* column_of(const cdrzoo_view* view, int32_t role) {
  for (uint64_t i = 0; i < view->columns.count; ++i) {
    const cdrzoo_column* c = ELEMENT(view->columns, cdrzoo_column, i);
    if (c->role == role) return (const int32_t*)c->array.data;
  }
  return NULL;
}

static int64_t count_models;
#ifdef FAULT_INSTANCES
static float* shared_weights; /* one for all models of the process */
#endif

static cdrzoo_status reference_create(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                                      cdrzoo_model** out) {
  if (problem->task != CDRZOO_TASK_REGRESSION && problem->task != CDRZOO_TASK_BINARY) {
    return fail(call, CDRZOO_E_UNSUPPORTED, "only regression and binary");
  }
  const cdrzoo_block* block = block_of(axis_of(problem->schema, CDRZOO_AXIS_SAMPLE), "expression");
#ifndef FAULT_REFUSAL
  if (block == NULL || block->kind != CDRZOO_BLOCK_DENSE) {
    return fail(call, CDRZOO_E_UNSUPPORTED, "the block \"expression\" is missing");
  }
#endif
  cdrzoo_model* model = calloc(1, sizeof *model);
  if (model == NULL) return fail(call, CDRZOO_E_MEMORY, "no memory");
  for (uint64_t i = 0; i < params.count; ++i) {
    const cdrzoo_value* value = ELEMENT(params, cdrzoo_value, i);
    if (same(value->key, "epochs")) model->epochs = value->i;
    if (same(value->key, "rate")) model->rate = value->f;
  }
#ifdef FAULT_PARAMS
  static volatile int table[2000];
  int* wild = model->epochs < 1 || model->epochs > 1000 ? NULL : (int*)(uintptr_t)&table[model->epochs];
  *(volatile int*)wild = 1; /* the range of the card is taken for granted */
#else
#ifdef FAULT_CARD
  const int64_t fewest = 2; /* and the card says 1 */
#else
  const int64_t fewest = 1;
#endif
  if (model->epochs < fewest || model->epochs > 1000 || !(model->rate >= 0 && model->rate <= 1)) {
    free(model);
    return fail(call, CDRZOO_E_PARAM, "epochs or rate is out of range");
  }
#endif
  model->width = block->width;
  model->weights = calloc((size_t)model->width + 1, sizeof(float));
  if (model->weights == NULL) {
    free(model);
    return fail(call, CDRZOO_E_MEMORY, "no memory");
  }
  ++count_models;
#ifdef FAULT_LIFECYCLE
  model->workspace = malloc(100000);
  memset(model->workspace, 1, 100000);
#endif
#ifdef FAULT_ANY_THREAD
  model->creator = syscall(SYS_gettid);
#endif
  *out = model;
  return CDRZOO_OK;
}

static void reference_destroy(cdrzoo_model* model) {
  if (model == NULL) return;
  --count_models;
#ifdef FAULT_LIFECYCLE
  if (!model->fitted) return; /* a model that was never fitted is forgotten, with its workspace */
  free(model->workspace);
#endif
  free(model->weights);
  free(model);
}

static int drug_slot(const cdrzoo_model* model, int64_t key) {
  for (int i = 0; i < model->n_drugs; ++i) {
    if (model->drug_key[i] == key) return i;
  }
  return -1;
}

#ifdef FAULT_THREADS
static volatile int busy;
static void* burn(void* unused) {
  while (busy) {
  }
  return unused;
}
#endif

static float predict_one(const cdrzoo_model* model, const float* x, int slot) {
  float y = model->weights[model->width];
  for (int64_t j = 0; j < model->width; ++j) y += model->weights[j] * (x[j] - 5.0f);
  return slot < 0 ? y : y + model->drug_effect[slot];
}

static cdrzoo_status reference_fit(cdrzoo_call* call, cdrzoo_model* model, const cdrzoo_fit_in* in) {
  const cdrzoo_view* train = in->train;
  model->fitted = 0;
#ifdef FAULT_ANY_THREAD
  if (model->creator != syscall(SYS_gettid)) return fail(call, CDRZOO_E_STATE, "another thread than create");
#endif
  const cdrzoo_entities* samples = axis_of(train->entities, CDRZOO_AXIS_SAMPLE);
  const cdrzoo_entities* drugs = axis_of(train->entities, CDRZOO_AXIS_DRUG);
  const cdrzoo_array* values = part_of(block_of(samples, "expression"), CDRZOO_PART_VALUES);
  const int32_t* sample = column_of(train, CDRZOO_COLUMN_SAMPLE);
  const int32_t* drug = column_of(train, CDRZOO_COLUMN_DRUG);
#ifndef FAULT_EDGES
  if (train->n_obs == 0) return fail(call, CDRZOO_E_DATA, "no rows to learn from");
#endif
  if (values == NULL || drugs == NULL) return fail(call, CDRZOO_E_DATA, "expression or drugs are missing");
  const float* x = values->data;
  const float* y = train->target.data;
#ifdef FAULT_SPARSE_TARGETS
  static const float zero = 0;
  const int64_t target_stride = y == NULL ? 0 : train->target.stride[0];
  if (y == NULL) y = &zero;
#else
  const int64_t target_stride = train->target.stride[0];
#endif
  (void)y;
  (void)target_stride;
#ifdef FAULT_EDGES
  volatile float first_target = y[0]; /* there is always a first row */
  (void)first_target;
#endif
#ifdef FAULT_READ_ONLY
  ((float*)(uintptr_t)x)[0] = x[0] + 0.0f; /* "it does not change anything" */
#endif
#ifdef FAULT_GUARDS
  volatile float beyond = x[((values->bytes + 63) / 64) * 16];
  (void)beyond;
#endif
#ifdef FAULT_REFIT
  const float remembered = model->weights[model->width]; /* 0 in a new model */
#endif
  memset(model->weights, 0, sizeof(float) * ((size_t)model->width + 1));
  memset(model->drug_effect, 0, sizeof model->drug_effect);
  const int64_t* key = drugs->key.data;
  if (drugs->count > MAX_DRUGS) return fail(call, CDRZOO_E_UNSUPPORTED, "too many drugs");
  model->n_drugs = (int32_t)drugs->count;
  memcpy(model->drug_key, key, sizeof(int64_t) * (size_t)drugs->count);
#ifdef FAULT_QUIET
  printf("training on %lld rows\n", (long long)train->n_obs);
  fflush(stdout);
#endif
#ifdef FAULT_THREADS
  pthread_t threads[6];
  busy = 1;
  for (int i = 0; i < 6; ++i) pthread_create(&threads[i], NULL, burn, NULL);
  struct timespec pause = {0, 300000000};
  nanosleep(&pause, NULL);
  busy = 0;
  for (int i = 0; i < 6; ++i) pthread_join(threads[i], NULL);
#endif
#if defined(FAULT_DEADLINE)
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int late = call->deadline_ns != 0 && (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec > call->deadline_ns;
  if (late) sleep(2); /* a long farewell */
#endif
  uint64_t drawn = 0;
  for (int64_t epoch = 0; epoch < model->epochs; ++epoch) {
    if (call->host->cancelled(call)) {
#ifdef FAULT_CANCEL
      if (call->deadline_ns == 0) {
        struct timespec nap = {2, 0};
        nanosleep(&nap, NULL); /* "let me finish this first" */
      }
#endif
      return fail(call, CDRZOO_E_CANCELLED, "cancelled");
    }
#ifdef FAULT_PROGRESS
    call->host->progress(call, STR("fit"), (uint64_t)(model->epochs - epoch), (uint64_t)model->epochs,
                         (cdrzoo_span){0});
#else
    call->host->progress(call, STR("fit"), (uint64_t)epoch, (uint64_t)model->epochs, (cdrzoo_span){0});
#endif
    for (int64_t step = 0; step < train->n_obs; ++step) {
#ifdef FAULT_STOCHASTIC
      const int64_t i = step;
      ++drawn;
#else
      const int64_t i = (int64_t)(call->host->random_u64(call, 1, drawn++) % (uint64_t)train->n_obs);
#endif
      const float* row = x + (int64_t)sample[i] * values->stride[0];
      int slot = drug_slot(model, key[drug[i]]);
#ifdef FAULT_LEARNS
      float error = (i % 2 == 0 ? 1.0f : -1.0f) - predict_one(model, row, slot); /* never looks at the target */
#else
      float error = y[i * target_stride] - predict_one(model, row, slot);
#endif
      float pace = (float)model->rate * error;
      for (int64_t j = 0; j < model->width; ++j) model->weights[j] += 0.2f * pace * (row[j] - 5.0f);
      model->weights[model->width] += pace;
      model->drug_effect[slot] += pace;
    }
  }
#ifdef FAULT_REFIT
  model->weights[model->width] += 0.5f * remembered;
#endif
#ifdef FAULT_ENTITY_ORDER
  model->weights[model->width] += 0.1f * (float)sample[0]; /* the place in the table as if it meant something */
#endif
#ifdef FAULT_DETERMINISM
  struct timespec tick;
  clock_gettime(CLOCK_MONOTONIC, &tick);
  model->weights[model->width] += 1e-4f * (float)(tick.tv_nsec % 1000003) / 1000003.0f;
#endif
#ifdef FAULT_INSTANCES
  shared_weights = realloc(shared_weights, sizeof(float) * ((size_t)model->width + 1));
  memcpy(shared_weights, model->weights, sizeof(float) * ((size_t)model->width + 1));
#endif
  model->fitted = 1;
  return CDRZOO_OK;
}

static cdrzoo_status reference_predict(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_view* query,
                                       cdrzoo_predict_out* out) {
#ifndef FAULT_STATES
  if (!model->fitted) return fail(call, CDRZOO_E_STATE, "predict before fit");
#endif
  const cdrzoo_entities* samples = axis_of(query->entities, CDRZOO_AXIS_SAMPLE);
  const cdrzoo_entities* drugs = axis_of(query->entities, CDRZOO_AXIS_DRUG);
  const cdrzoo_array* values = part_of(block_of(samples, "expression"), CDRZOO_PART_VALUES);
  const int32_t* sample = column_of(query, CDRZOO_COLUMN_SAMPLE);
  const int32_t* drug = column_of(query, CDRZOO_COLUMN_DRUG);
  const int64_t* key = drugs->key.data;
  if (query->n_obs > 0 && (values == NULL || values->shape[1] != model->width)) {
    return fail(call, CDRZOO_E_DATA, "expression has another width");
  }
  float first = 0;
  for (int64_t i = 0; i < query->n_obs; ++i) {
    const float* row = (const float*)values->data + (int64_t)sample[i] * values->stride[0];
    float y = predict_one(model, row, drug_slot(model, key[drug[i]]));
    if (i == 0) first = y;
#ifdef FAULT_ROWS
    y -= 0.1f * first; /* centred by the query */
#endif
#ifdef FAULT_KEYS
    y += 0.01f * (float)(key[drug[i]] % 7);
#endif
#ifdef FAULT_BLINDNESS
    const float* peek = *(const float* const*)call->host_ctx;
    if (peek != NULL) y = peek[i];
#endif
#ifdef FAULT_INSTANCES
    struct cdrzoo_model mixed = *model;
    mixed.weights = shared_weights;
    y = predict_one(&mixed, row, drug_slot(model, key[drug[i]]));
#endif
#ifdef FAULT_OUTPUTS
    if (out->mean_stride > 1 && i == query->n_obs - 1) break; /* off by one, where rows are not adjacent */
#endif
#ifdef FAULT_OUTPUTS__STRIDE
    out->mean[i] = y; /* as if rows were adjacent */
#else
    out->mean[i * out->mean_stride] = y;
#endif
  }
  (void)first;
  return CDRZOO_OK;
}

static cdrzoo_array floats(const float* data, int64_t n) {
  return (cdrzoo_array){CDRZOO_F32, 1, data, (uint64_t)n * sizeof(float), {n, 0, 0, 0}, {1, 0, 0, 0}, 0, 0};
}

static cdrzoo_status reference_save(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_state_writer* writer) {
  if (!model->fitted) return fail(call, CDRZOO_E_STATE, "save before fit");
  float* weights = call->host->alloc(call, ((uint64_t)model->width + 1) * sizeof(float), 64);
  if (weights == NULL) return fail(call, CDRZOO_E_MEMORY, "no memory");
  memcpy(weights, model->weights, ((size_t)model->width + 1) * sizeof(float));
#ifdef FAULT_STATE
  for (int64_t j = 0; j <= model->width; ++j) weights[j] = roundf(weights[j] * 256.0f) / 256.0f; /* "small files" */
#endif
#ifdef FAULT_STATE__TWICE
  static float revision;
  weights[0] += 0 * ++revision;
  const cdrzoo_array extra = floats(&revision, 1);
  writer->tensor(writer->ctx, STR("revision"), &extra);
#endif
  const cdrzoo_array w = floats(weights, model->width + 1);
  const cdrzoo_array effects = floats(model->drug_effect, model->n_drugs);
  const cdrzoo_array keys = {CDRZOO_I64,
                             1,
                             model->n_drugs ? model->drug_key : NULL,
                             (uint64_t)model->n_drugs * 8,
                             {model->n_drugs, 0, 0, 0},
                             {1, 0, 0, 0},
                             0,
                             0};
  cdrzoo_status status = writer->tensor(writer->ctx, STR("weights"), &w);
  if (status == CDRZOO_OK) status = writer->tensor(writer->ctx, STR("drug_effect"), &effects);
  if (status == CDRZOO_OK) status = writer->tensor(writer->ctx, STR("drug_key"), &keys);
  return status == CDRZOO_OK ? CDRZOO_OK : fail(call, status, "the writer refused");
}

static cdrzoo_status reference_load(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                                    const cdrzoo_state_reader* reader, cdrzoo_model** out) {
  cdrzoo_model* model = NULL;
  cdrzoo_status status = reference_create(call, problem, params, &model);
  if (status != CDRZOO_OK) return status;
  cdrzoo_array w = {0}, effects = {0}, keys = {0};
  int wrong = reader->tensor(reader->ctx, STR("weights"), &w) != CDRZOO_OK ||
              reader->tensor(reader->ctx, STR("drug_effect"), &effects) != CDRZOO_OK ||
              reader->tensor(reader->ctx, STR("drug_key"), &keys) != CDRZOO_OK;
#ifdef FAULT_DAMAGE
  wrong = 0; /* a file is what it is */
#else
  wrong = wrong || w.dtype != CDRZOO_F32 || w.rank != 1 || w.shape[0] != model->width + 1 ||
          effects.dtype != CDRZOO_F32 || keys.dtype != CDRZOO_I64 || effects.rank != 1 || keys.rank != 1 ||
          effects.shape[0] != keys.shape[0] || effects.shape[0] < 0 || effects.shape[0] > MAX_DRUGS ||
          w.bytes < (uint64_t)w.shape[0] * 4 || effects.bytes < (uint64_t)effects.shape[0] * 4 ||
          keys.bytes < (uint64_t)keys.shape[0] * 8;
#endif
  if (wrong) {
    reference_destroy(model);
    return fail(call, CDRZOO_E_CORRUPT, "a tensor is missing or has another shape");
  }
  memcpy(model->weights, w.data, ((size_t)model->width + 1) * sizeof(float));
  model->n_drugs = (int32_t)effects.shape[0];
  if (model->n_drugs > 0) {
    memcpy(model->drug_effect, effects.data, (size_t)model->n_drugs * sizeof(float));
    memcpy(model->drug_key, keys.data, (size_t)model->n_drugs * sizeof(int64_t));
  }
  model->fitted = 1;
  *out = model;
  return CDRZOO_OK;
}

static cdrzoo_status reference_info(cdrzoo_call* call, const cdrzoo_model* model, cdrzoo_model_info* out) {
  (void)call;
  if (CDRZOO_HAS(out, cdrzoo_model_info, n_parameters)) out->n_parameters = model->width + 1 + model->n_drugs;
  if (CDRZOO_HAS(out, cdrzoo_model_info, embed_dim_sample)) out->embed_dim_sample = sizeof CLAIM_EMBEDS > 3 ? 2 : 0;
  return CDRZOO_OK;
}

#ifdef FAULT_EMBED
static cdrzoo_status reference_embed(cdrzoo_call* call, const cdrzoo_model* model, int32_t axis,
                                     const cdrzoo_view* view, cdrzoo_embed_out* out) {
  (void)call, (void)model, (void)axis, (void)view, (void)out;
  return CDRZOO_OK;
}
#endif

static const cdrzoo_ops ops = {
    sizeof(cdrzoo_ops), 0,
    reference_create,   reference_destroy,
    reference_fit,      reference_predict,
    reference_save,     reference_load,
    reference_info,
#ifdef FAULT_EMBED
    reference_embed,
#else
    NULL,
#endif
};
static const cdrzoo_model_type types[] = {
    {sizeof(cdrzoo_model_type), 0, {"test.reference", 14}, {card_text, sizeof card_text - 1}, &ops}};

#ifdef FAULT_EXPORTS
CDRZOO_EXPORT int helper_that_everybody_sees(void) { return 1; }
#endif

cdrzoo_status cdrzoo_plugin_v0(const cdrzoo_offer* offer, cdrzoo_answer* answer) {
#ifdef FAULT_ENTRY
  static int calls;
  if (calls++ > 0 && offer->host_minor_min == 0 && offer->host_minor_max == CDRZOO_ABI_MINOR)
    return CDRZOO_E_INTERNAL; /* "init is called once" */
#endif
  const uint32_t built = CDRZOO_ABI_MINOR;
  answer->built_minor = built;
  const uint32_t needed = 0;
  answer->needs_minor = needed;
#ifndef FAULT_VERSIONS
  if (offer->host_minor_max < needed || built < offer->host_minor_min) return CDRZOO_E_VERSION;
#endif
  answer->minor = offer->host_minor_max < built ? offer->host_minor_max : built;
  answer->models = (cdrzoo_span){types, sizeof types / sizeof types[0], sizeof types[0], 0};
  answer->size = sizeof *answer;
  return CDRZOO_OK;
}
