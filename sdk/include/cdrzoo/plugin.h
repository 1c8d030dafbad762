/* SPDX-License-Identifier: Apache-2.0 */
/* cdrzoo/plugin.h: what a model plugin implements. Exactly one exported symbol: cdrzoo_plugin_v0.
 *
 * Life cycle of a model:   create -> NEW -> fit -> FITTED -> { predict | embed | save | info }*    any state -> destroy
 *                          load   -> FITTED
 * After fit returned an error the model is FAILED: only fit or destroy may follow.
 *
 * Threads: operations on one model never overlap; they may arrive on different threads over time. Two models in one
 * process are independent. Host services may be called from any thread that the operation started, until it returns;
 * by then all such threads must be idle.
 *
 * Errors: call host->fail(call, code, message, where) and return the code. The host copies the text at once; the first
 * call wins. Returning an error without fail() is allowed but helps nobody.
 */
#ifndef CDRZOO_PLUGIN_H
#define CDRZOO_PLUGIN_H

#include <cdrzoo/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cdrzoo_call cdrzoo_call;
typedef struct cdrzoo_model cdrzoo_model; /* the plugin's own; the host never looks inside */

/* ---- state: a model as named arrays. The host stores them as a safetensors file, so plugins contain no parser ---- */

/* Receives a model's state. GROWABLE. Names are unique; the order of the calls is kept. */
typedef struct cdrzoo_state_writer {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  /* The host copies the array before it returns. Errors: CDRZOO_E_ARGUMENT for a repeated name or a bad array. */
  cdrzoo_status (*tensor)(void* ctx, cdrzoo_str name, const cdrzoo_array* array);
  /* A short text that belongs to the state (vocabulary hashes, format revisions). */
  cdrzoo_status (*text)(void* ctx, cdrzoo_str key, cdrzoo_str value);
} cdrzoo_state_writer;

/* Gives a model's state back. GROWABLE. Arrays are borrowed, row-major, valid until the operation returns. */
typedef struct cdrzoo_state_reader {
  uint32_t size;
  uint32_t reserved;
  void* ctx;
  uint64_t count; /* number of tensors */
  cdrzoo_status (*name_at)(void* ctx, uint64_t index, cdrzoo_str* out);
  cdrzoo_status (*tensor)(void* ctx, cdrzoo_str name, cdrzoo_array* out); /* CDRZOO_E_CORRUPT if there is none */
  cdrzoo_status (*text)(void* ctx, cdrzoo_str key, cdrzoo_str* out);      /* CDRZOO_E_CORRUPT if there is none */
} cdrzoo_state_reader;

/* A file that the card asks for. GROWABLE. The caller stamps size; the host fills at most that much. */
typedef struct cdrzoo_asset {
  uint32_t size;
  uint32_t reserved;
  cdrzoo_array bytes;                 /* u8, a read-only mapping of the file */
  cdrzoo_str path;                    /* absolute */
  const cdrzoo_state_reader* tensors; /* NULL unless the file is safetensors */
} cdrzoo_asset;

/* ---- host services ---- */
#define CDRZOO_LOG_DEBUG 1
#define CDRZOO_LOG_INFO 2
#define CDRZOO_LOG_WARN 3
#define CDRZOO_LOG_ERROR 4

/* GROWABLE. Every pointer up to size is non-NULL. All are callable from any thread, see above. */
typedef struct cdrzoo_host {
  uint32_t size;
  uint32_t minor; /* the negotiated ABI minor */
  void (*log)(cdrzoo_call* call, int32_t level, cdrzoo_str message);
  /* Report why this operation fails. `where` names the step ("fit: epoch 3"), and may be empty. */
  void (*fail)(cdrzoo_call* call, cdrzoo_status code, cdrzoo_str message, cdrzoo_str where);
  /* 1 once the operation should stop. Cheap enough for every mini-batch. Return CDRZOO_E_CANCELLED within two
   * seconds, or within the card's cancel_latency_s. */
  int32_t (*cancelled)(cdrzoo_call* call);
  /* done is monotone within a phase; total 0 = not known. metrics: span of cdrzoo_value of type REAL or INT. */
  void (*progress)(cdrzoo_call* call, cdrzoo_str phase, uint64_t done, uint64_t total, cdrzoo_span metrics);
  /* Memory that the host frees when the operation returns. align is a power of two. NULL when there is none left. */
  void* (*alloc)(cdrzoo_call* call, uint64_t bytes, uint64_t align);
  /* Element `index` of stream `stream` of the generator keyed by call->seed: cdrzoo_random_u64 of cdrzoo/random.h, so
   * stateless and equal in every host. */
  uint64_t (*random_u64)(cdrzoo_call* call, uint64_t stream, uint64_t index);
  /* An asset by the id that the card gives it. CDRZOO_E_ASSET when the run has none. */
  cdrzoo_status (*asset)(cdrzoo_call* call, cdrzoo_str id, cdrzoo_asset* out);
  /* A vendor or later interface by id ("reverse.dns/name/N"); NULL when the host has none. */
  const void* (*extension)(cdrzoo_call* call, cdrzoo_str id);
} cdrzoo_host;

#define CDRZOO_DEVICE_CPU 1
#define CDRZOO_DEVICE_CUDA 2

/* One operation. GROWABLE. Host-owned, valid from entry to return of the operation. */
struct cdrzoo_call {
  uint32_t size;
  uint32_t flags;
  const cdrzoo_host* host;
  void* host_ctx;        /* the host's own */
  uint64_t seed;         /* all randomness of the operation is a function of this */
  uint64_t deadline_ns;  /* CLOCK_MONOTONIC; 0 = none */
  uint64_t memory_bytes; /* budget of the process; 0 = not limited */
  int32_t threads;       /* >= 1: a ceiling for everything, BLAS and OpenMP included */
  int32_t device_kind;   /* CDRZOO_DEVICE_* */
  int32_t device_index;
  int32_t determinism;    /* 1 = same seed, machine and thread count give the same bytes, or CDRZOO_E_UNSUPPORTED */
  cdrzoo_str scratch_dir; /* a writable folder of this operation's own */
};

/* ---- operations ---- */

/* GROWABLE. */
typedef struct cdrzoo_fit_in {
  uint32_t size;
  uint32_t flags;
  const cdrzoo_view* train; /* labelled */
  const cdrzoo_view* valid; /* labelled rows held out of train for early stopping; NULL unless the card asks for them */
  const cdrzoo_view* unlabelled_target; /* samples of the target domain without labels; NULL unless the card asks */
} cdrzoo_fit_in;

/* GROWABLE. The buffers are the host's, sized n_obs x n_targets. A row must either get finite values or a status. */
typedef struct cdrzoo_predict_out {
  uint32_t size;
  uint32_t flags;
  float* mean; /* f32 [n_obs, n_targets], rows mean_stride elements apart; to be written entirely */
  int64_t mean_stride;
  float* scale; /* predictive standard deviation, same shape; NULL = not wanted */
  int64_t scale_stride;
  int32_t* row_status; /* i32 [n_obs], all CDRZOO_ROW_OK on entry */
} cdrzoo_predict_out;
#define CDRZOO_ROW_OK 0
#define CDRZOO_ROW_UNSUPPORTED_ENTITY 1 /* the model cannot say anything about this sample or drug */
#define CDRZOO_ROW_NUMERIC 2

/* GROWABLE. */
typedef struct cdrzoo_embed_out {
  uint32_t size;
  uint32_t flags;
  float* data; /* f32 [entities, dim], rows `stride` elements apart */
  int64_t stride;
  int64_t dim; /* what info() said */
} cdrzoo_embed_out;

/* GROWABLE. The host stamps size; the plugin writes at most that much. */
typedef struct cdrzoo_model_info {
  uint32_t size;
  uint32_t flags;
  int64_t n_parameters;
  int64_t embed_dim_sample; /* 0 = no sample embedding */
  int64_t embed_dim_drug;
  uint64_t bytes; /* resident size of the fitted model, as far as it knows */
} cdrzoo_model_info;

/* GROWABLE. All slots up to info are mandatory, for the whole epoch. Slots appended later are optional. */
typedef struct cdrzoo_ops {
  uint32_t size;
  uint32_t reserved;
  /* [state: none -> NEW] params: span of cdrzoo_value, every key of the card, in its order.
   * On error *out stays NULL and nothing leaks. Errors: E_PARAM, E_UNSUPPORTED (task, block, device). */
  cdrzoo_status (*create)(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params, cdrzoo_model** out);
  /* [any state] Cannot fail. NULL is allowed. */
  void (*destroy)(cdrzoo_model* model);
  /* [NEW, FITTED or FAILED -> FITTED or FAILED] A second fit forgets the first.
   * Errors: E_DATA, E_NUMERIC, E_CANCELLED, E_DEADLINE, E_MEMORY, E_ASSET. */
  cdrzoo_status (*fit)(cdrzoo_call* call, cdrzoo_model* model, const cdrzoo_fit_in* in);
  /* [FITTED] Row i of the result depends on row i of the view only, unless the card says transductive. The host may
   * ask about one measured profile in several rows, each with another reference, and average what comes back.
   * Errors: E_STATE before fit, E_DATA, E_CANCELLED. */
  cdrzoo_status (*predict)(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_view* query,
                           cdrzoo_predict_out* out);
  /* [FITTED] Same state, same bytes. Errors: E_STATE, or what the writer returned. */
  cdrzoo_status (*save)(cdrzoo_call* call, const cdrzoo_model* model, const cdrzoo_state_writer* writer);
  /* [none -> FITTED] Predictions of the loaded model equal those of the saved one bit for bit.
   * Errors: E_CORRUPT for a tensor that is absent or has another shape or dtype. */
  cdrzoo_status (*load)(cdrzoo_call* call, const cdrzoo_problem* problem, cdrzoo_span params,
                        const cdrzoo_state_reader* reader, cdrzoo_model** out);
  /* [any state] */
  cdrzoo_status (*info)(cdrzoo_call* call, const cdrzoo_model* model, cdrzoo_model_info* out);
  /* Optional, may be NULL. [FITTED] The embeddings of all entities of `axis` in the view. */
  cdrzoo_status (*embed)(cdrzoo_call* call, const cdrzoo_model* model, int32_t axis, const cdrzoo_view* view,
                         cdrzoo_embed_out* out);
} cdrzoo_ops;

/* One model that the plugin offers. GROWABLE. Static storage, valid until the process ends. */
typedef struct cdrzoo_model_type {
  uint32_t size;
  uint32_t reserved;
  cdrzoo_str id;   /* equals "id" in the card */
  cdrzoo_str card; /* JSON, UTF-8; see share/schemas/card.schema.json */
  const cdrzoo_ops* ops;
} cdrzoo_model_type;

/* ---- entry ---- */

/* GROWABLE. The host can act as any minor from host_minor_min to host_minor_max. */
typedef struct cdrzoo_offer {
  uint32_t size;
  uint32_t host_minor_min;
  uint32_t host_minor_max;
  uint32_t reserved;
  cdrzoo_str host_name;  /* "cdrzoo 0.1.0" */
  cdrzoo_str plugin_dir; /* absolute folder of the plugin's file */
} cdrzoo_offer;

/* GROWABLE. The host stamps size; the plugin fills at most that much and sets size to what it filled. */
typedef struct cdrzoo_answer {
  uint32_t size;
  uint32_t minor;       /* the minor both sides will speak: min(host_minor_max, CDRZOO_ABI_MINOR as built) */
  uint32_t built_minor; /* CDRZOO_ABI_MINOR as built */
  uint32_t needs_minor; /* the oldest minor that the plugin can work with; filled also when the answer is E_VERSION */
  cdrzoo_span models;   /* of cdrzoo_model_type */
} cdrzoo_answer;

#if defined(__GNUC__)
#define CDRZOO_EXPORT __attribute__((visibility("default")))
#else
#define CDRZOO_EXPORT
#endif

/* Negotiates and introduces the models. Idempotent, at most 50 ms; starts no thread, opens no file, touches no device.
 * Returns CDRZOO_E_VERSION when host_minor_max < needs_minor or CDRZOO_ABI_MINOR < host_minor_min. */
CDRZOO_EXPORT cdrzoo_status cdrzoo_plugin_v0(const cdrzoo_offer* offer, cdrzoo_answer* answer);
typedef cdrzoo_status (*cdrzoo_plugin_entry)(const cdrzoo_offer* offer, cdrzoo_answer* answer);
#define CDRZOO_PLUGIN_ENTRY_NAME "cdrzoo_plugin_v0"

#ifdef __cplusplus
}
#endif
#endif /* CDRZOO_PLUGIN_H */
