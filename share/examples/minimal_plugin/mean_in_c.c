/* SPDX-License-Identifier: Apache-2.0 */
/* A complete model in plain C: predicts the mean of all training responses. */
#include <cdrzoo/entry.h>
#include <stdlib.h>
#include <string.h>

#include "cards.h"

typedef struct mean_model {
  int fitted;
  double mean;
} mean_model;

static cdrzoo_str text(const char* s) {
  cdrzoo_str out;
  out.ptr = s;
  out.len = strlen(s);
  return out;
}

static cdrzoo_status fail(cdrzoo_call* call, cdrzoo_status code, const char* message) {
  call->host->fail(call, code, text(message), text(""));
  return code;
}

static cdrzoo_status create(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params, cdrzoo_model** out) {
  mean_model* model;
  (void)params;
  *out = NULL;
  if (problem->task != CDRZOO_TASK_REGRESSION && problem->task != CDRZOO_TASK_BINARY) {
    return fail(call, CDRZOO_E_UNSUPPORTED, "this model knows regression and binary tasks only");
  }
  if (problem->n_targets != 1) return fail(call, CDRZOO_E_UNSUPPORTED, "this model predicts one value per pair");
  model = calloc(1, sizeof *model);
  if (model == NULL) return fail(call, CDRZOO_E_MEMORY, "no memory is left");
  *out = (cdrzoo_model*)model;
  return CDRZOO_OK;
}

static void destroy(cdrzoo_model* model) { free(model); }

static cdrzoo_status fit(cdrzoo_call* call, cdrzoo_model* opaque, const cdrzoo_fit_in* in) {
  mean_model* model = (mean_model*)opaque;
  const cdrzoo_view* train = in->train;
  const float* y = (const float*)train->target.data;
  double sum = 0;
  int64_t i;
  model->fitted = 0;
  if (train->n_obs == 0) return fail(call, CDRZOO_E_DATA, "there are no training responses");
  for (i = 0; i < train->n_obs; ++i) {
    if (i % 4096 == 0 && call->host->cancelled(call)) return fail(call, CDRZOO_E_CANCELLED, "cancelled");
    sum += (double)y[i * train->target.stride[0]];
  }
  model->mean = sum / (double)train->n_obs;
  model->fitted = 1;
  return CDRZOO_OK;
}

static cdrzoo_status predict(cdrzoo_call* call, const cdrzoo_model* opaque, const cdrzoo_view* query,
                             cdrzoo_predict_out* out) {
  const mean_model* model = (const mean_model*)opaque;
  int64_t i;
  if (!model->fitted) return fail(call, CDRZOO_E_STATE, "the model has not been fitted");
  for (i = 0; i < query->n_obs; ++i) out->mean[i * out->mean_stride] = (float)model->mean;
  return CDRZOO_OK;
}

static cdrzoo_status save(cdrzoo_call* call, const cdrzoo_model* opaque, const cdrzoo_state_writer* writer) {
  const mean_model* model = (const mean_model*)opaque;
  cdrzoo_array array;
  if (!model->fitted) return fail(call, CDRZOO_E_STATE, "the model has not been fitted");
  memset(&array, 0, sizeof array); /* rank 0: one value */
  array.dtype = CDRZOO_F64;
  array.data = &model->mean;
  array.bytes = sizeof model->mean;
  return writer->tensor(writer->ctx, text("mean"), &array);
}

static cdrzoo_status load(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                          const cdrzoo_state_reader* reader, cdrzoo_model** out) {
  cdrzoo_array array;
  cdrzoo_status status = create(call, problem, params, out);
  if (status != CDRZOO_OK) return status;
  memset(&array, 0, sizeof array);
  status = reader->tensor(reader->ctx, text("mean"), &array);
  if (status != CDRZOO_OK || array.dtype != CDRZOO_F64 || array.rank != 0 || array.bytes < sizeof(double)) {
    destroy(*out);
    *out = NULL;
    return fail(call, CDRZOO_E_CORRUPT, "the state has no tensor \"mean\" of one f64");
  }
  memcpy(&((mean_model*)*out)->mean, array.data, sizeof(double));
  ((mean_model*)*out)->fitted = 1;
  return CDRZOO_OK;
}

static cdrzoo_status info(cdrzoo_call* call, const cdrzoo_model* model, cdrzoo_model_info* out) {
  (void)call;
  (void)model;
  out->n_parameters = 1;
  out->embed_dim_sample = 0;
  out->embed_dim_drug = 0;
  out->bytes = sizeof(mean_model);
  return CDRZOO_OK;
}

static const cdrzoo_ops kOps = {sizeof(cdrzoo_ops), 0, create, destroy, fit, predict, save, load, info, NULL};

static const cdrzoo_model_type kModels[] = {
    {sizeof(cdrzoo_model_type), 0, MEAN_IN_C_CARD_ID, MEAN_IN_C_CARD, &kOps},
};

CDRZOO_EXPORT cdrzoo_status cdrzoo_plugin_v0(const cdrzoo_offer* offer, cdrzoo_answer* answer) {
  return cdrzoo_answer_offer(offer, answer, 0, kModels, sizeof kModels / sizeof kModels[0]);
}
