/* SPDX-License-Identifier: Apache-2.0 */
/* cdrzoo/abi.h: the vocabulary that host and plugins share. C99, nothing but <stddef.h> and <stdint.h>.
 *
 * The grammar of this header, stated once:
 *  1. No enum, bool, bit-field, long, size_t, union or implicit padding. Little-endian, LP64.
 *  2. FROZEN structs (str, span, array) are embedded by value and never change within an epoch.
 *     GROWABLE structs begin with `uint32_t size` and travel by pointer or in a span that carries the element
 *     stride. A growable struct is never a member of another struct by value.
 *  3. Who writes a growable struct stamps `size` with the bytes that it defined. Who reads one uses a field only if
 *     CDRZOO_HAS says that it is there. Appended fields mean "absent" when zero.
 *  4. Constants are append-only. A reader meets an unknown constant with a default branch, never with a crash.
 *  5. Strings are pointer + length, UTF-8, without a promised terminator.
 *  6. Nothing is freed by the side that did not allocate it, so there is no free function. All pointers that the
 *     host hands to an operation are borrowed and valid until that operation returns, unless a comment says more.
 *  7. Nothing unwinds across the boundary: no C++ exception, no Rust panic, no longjmp.
 */
#ifndef CDRZOO_ABI_H
#define CDRZOO_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The epoch is part of the entry symbol's name; another epoch is another world. Epoch 0 is a draft: it freezes as 1
 * when a plain C plugin, a LibTorch plugin and a plugin without either have lived on it. */
#define CDRZOO_ABI_EPOCH 0u
#define CDRZOO_ABI_MINOR 3u /* grows by one with each append-only change */

/* First byte after field f of struct T. */
#define CDRZOO_FIELD_END(T, f) (offsetof(T, f) + sizeof(((T*)0)->f))
/* Does the writer of *p define field f? Every read of a growable struct that came from the other side asks this for
 * fields that are younger than epoch.0. */
#define CDRZOO_HAS(p, T, f) ((p) != NULL && (p)->size >= CDRZOO_FIELD_END(T, f))
/* Element i of a span of T: walks with the writer's stride, never with sizeof. */
#define CDRZOO_AT(span, T, i) ((const T*)(const void*)((const uint8_t*)(span).data + (uint64_t)(i) * (span).stride))

/* ---- status: 0 is success, negative is an error, positive is a violation of the protocol ---- */
typedef int32_t cdrzoo_status;
#define CDRZOO_OK 0
#define CDRZOO_E_UNKNOWN (-1)
#define CDRZOO_E_CANCELLED (-2)   /* `cancelled` was observed */
#define CDRZOO_E_ARGUMENT (-3)    /* a call that breaks the contract */
#define CDRZOO_E_PARAM (-4)       /* a hyperparameter value that the model cannot run with */
#define CDRZOO_E_UNSUPPORTED (-5) /* a task, block, column, device or optional operation that this model lacks */
#define CDRZOO_E_VERSION (-6)     /* no common ABI minor */
#define CDRZOO_E_STATE (-7)       /* the operation is not allowed now, e.g. predict before fit */
#define CDRZOO_E_DATA (-8)        /* the data cannot be used: missing values, one class, no rows */
#define CDRZOO_E_NUMERIC (-9)     /* diverged: NaN or infinity where none may be */
#define CDRZOO_E_MEMORY (-10)
#define CDRZOO_E_DEVICE (-11)
#define CDRZOO_E_ASSET (-12)
#define CDRZOO_E_IO (-13)
#define CDRZOO_E_CORRUPT (-14) /* a model state that is damaged or belongs to something else */
#define CDRZOO_E_DEADLINE (-15)
#define CDRZOO_E_INTERNAL (-16)

/* ---- frozen structs ---- */

/* Borrowed text. FROZEN. */
typedef struct cdrzoo_str {
  const char* ptr;
  uint64_t len;
} cdrzoo_str;

/* Borrowed sequence of structs, `stride` bytes apart. FROZEN. */
typedef struct cdrzoo_span {
  const void* data;
  uint64_t count;
  uint32_t stride;
  uint32_t reserved;
} cdrzoo_span;

/* dtype */
#define CDRZOO_F32 1
#define CDRZOO_F64 2
#define CDRZOO_I32 3
#define CDRZOO_I64 4
#define CDRZOO_U8 5
#define CDRZOO_U64 6
#define CDRZOO_F16 7  /* only in assets and states */
#define CDRZOO_BF16 8 /* only in assets and states */
#define CDRZOO_BOOL 9 /* one byte, 0 or 1; only in assets and states */

/* Dense strided memory of rank 0 to 4, read-only for the side that receives it. FROZEN. */
typedef struct cdrzoo_array {
  int32_t dtype;
  int32_t rank;
  const void* data;  /* NULL if and only if there are no elements; feature memory is 64-byte aligned */
  uint64_t bytes;    /* readable bytes from data on */
  int64_t shape[4];  /* unused axes are 0 */
  int64_t stride[4]; /* in elements, always explicit; the last used axis has stride 1 */
  uint32_t flags;    /* CDRZOO_ARRAY_* */
  uint32_t reserved;
} cdrzoo_array;
#define CDRZOO_ARRAY_HAS_NAN 1u /* missing values are present, as quiet NaN */

/* ---- feature blocks: one named family of features of one kind of entity ---- */
#define CDRZOO_BLOCK_DENSE 1 /* VALUES [rows, width] f32 or u8 */
#define CDRZOO_BLOCK_CSR 2   /* ROWPTR i64 [rows+1], COLIDX i32 [nnz], VALUES f32 [nnz] */
#define CDRZOO_BLOCK_CODES \
  3 /* categories: VALUES i32 [rows], -1 = unknown; levels are OFFSETS i64 [width+1], BYTES u8 */
#define CDRZOO_BLOCK_UTF8 4   /* one text per entity: OFFSETS i64 [rows+1], BYTES u8 */
#define CDRZOO_BLOCK_GRAPHS 5 /* one small graph per entity, concatenated; see the NODE, EDGE and PAIR parts */

#define CDRZOO_PART_VALUES 1
#define CDRZOO_PART_ROWPTR 2
#define CDRZOO_PART_COLIDX 3
#define CDRZOO_PART_OFFSETS 4
#define CDRZOO_PART_BYTES 5
#define CDRZOO_PART_NODEPTR 10  /* i64 [rows+1]: the nodes of graph r are NODEPTR[r] .. NODEPTR[r+1]-1 */
#define CDRZOO_PART_NODEFEAT 11 /* f32 [nodes, width] */
#define CDRZOO_PART_EDGEPTR 12  /* i64 [rows+1] */
#define CDRZOO_PART_EDGESRC 13  /* i32 [edges], counted within the graph; each bond stands in both directions */
#define CDRZOO_PART_EDGEDST 14  /* i32 [edges] */
#define CDRZOO_PART_EDGEFEAT 15 /* f32 [edges, features] */
#define CDRZOO_PART_PAIRPTR 16  /* i64 [rows+1] */
#define CDRZOO_PART_PAIRFEAT \
  17 /* f32 [sum of nodes^2, features]: per graph a row-major nodes x nodes matrix, e.g. distances */

/* One array of a block. GROWABLE. */
typedef struct cdrzoo_part {
  uint32_t size;
  int32_t role; /* CDRZOO_PART_* */
  cdrzoo_array array;
} cdrzoo_part;

/* GROWABLE. Well-known names: "expression", "tissue", "domain" (samples); "morgan", "graph", "smiles" (drugs). */
typedef struct cdrzoo_block {
  uint32_t size;
  int32_t kind; /* CDRZOO_BLOCK_* */
  cdrzoo_str name;
  cdrzoo_str space;  /* content hash of the ordered feature vocabulary: equal spaces mean equal columns */
  int64_t rows;      /* equals the number of entities */
  int64_t width;     /* features (DENSE, CSR, GRAPHS: per node) or levels (CODES); 0 for UTF8 */
  cdrzoo_span parts; /* of cdrzoo_part */
  cdrzoo_array feature_name_offsets; /* i64 [width+1]; empty unless the card asks for "feature_names" */
  cdrzoo_array feature_name_bytes;   /* u8 */
} cdrzoo_block;

#define CDRZOO_AXIS_SAMPLE 1
#define CDRZOO_AXIS_DRUG 2
#define CDRZOO_AXIS_GENE 3 /* the genes of an expression-valued target, in target order */

/* The unique entities of one kind that a view refers to, each once. GROWABLE. */
typedef struct cdrzoo_entities {
  uint32_t size;
  int32_t axis; /* CDRZOO_AXIS_* */
  int64_t count;
  cdrzoo_array key;   /* i64 [count]: opaque, equal for the same entity in all views of one run, salted per run */
  cdrzoo_span blocks; /* of cdrzoo_block; only those that the card needs */
} cdrzoo_entities;

/* ---- observation columns ---- */
#define CDRZOO_COLUMN_SAMPLE 1  /* i32 index into the SAMPLE entities of the same view */
#define CDRZOO_COLUMN_DRUG 2    /* i32 index into the DRUG entities */
#define CDRZOO_COLUMN_DRUG_B 3  /* i32, second drug of a combination; -1 = none */
#define CDRZOO_COLUMN_CONTROL 4 /* i32 index into the SAMPLE entities: the untreated reference profile */
#define CDRZOO_COLUMN_DOSE 5    /* f32, log10 of molar */
#define CDRZOO_COLUMN_TIME 6    /* f32, hours */
#define CDRZOO_COLUMN_WEIGHT 7  /* f32 */
#define CDRZOO_COLUMN_DOMAIN 8  /* i32, 0 = the (first) source domain */
#define CDRZOO_COLUMN_BATCH 9   /* i32 */
/* Columns of expression-valued tasks, since minor 1. A reference is a measured treated profile of one of the row's
 * perturbations, taken elsewhere: a SAMPLE entity whose block "expression" holds the treated profile. The reference
 * columns exist in query views only (validation and test); the problem lists them, and a training view lacks them:
 * its own targets are measured profiles of every perturbation that it names. */
#define CDRZOO_COLUMN_CONTEXT 10   /* i32 code >= 0, equal for the same context (cell line, patient) in all views */
#define CDRZOO_COLUMN_REFERENCE 11 /* i32 index into the SAMPLE entities: treated with `drug` alone; -1 = none */
#define CDRZOO_COLUMN_REFERENCE_CONTROL 12 /* i32 index: the untreated profile of the reference's context; -1 */
#define CDRZOO_COLUMN_REFERENCE_B 13       /* i32 index: treated with `drug_b` alone; -1 = none */
#define CDRZOO_COLUMN_REFERENCE_B_CONTROL 14
/* Since minor 3, in query views too: where a reference was measured. */
#define CDRZOO_COLUMN_REFERENCE_CONTEXT 15   /* i32 code as in CONTEXT; -1 = there is no reference */
#define CDRZOO_COLUMN_REFERENCE_B_CONTEXT 16 /* the same of REFERENCE_B */

/* GROWABLE. */
typedef struct cdrzoo_column {
  uint32_t size;
  int32_t role;       /* CDRZOO_COLUMN_* */
  cdrzoo_array array; /* rank 1 [n_obs]; indices are in range, the host has checked */
} cdrzoo_column;

/* A set of observations over entity tables. GROWABLE. Host-owned, read-only, valid until the operation returns.
 *
 * The entity tables hold exactly the entities that the observations refer to: statistics over "all rows of the table"
 * in fit are statistics over training entities. An unlabelled pool has one observation per sample and no DRUG column.
 * In CDRZOO_TASK_EXPRESSION there is no SAMPLE column: the samples of a view are the controls of its observations and,
 * in a query, the profiles that serve as references.
 */
typedef struct cdrzoo_view {
  uint32_t size;
  uint32_t flags;          /* CDRZOO_VIEW_* */
  uint64_t fingerprint[2]; /* equal views have equal fingerprints */
  cdrzoo_span entities;    /* of cdrzoo_entities, each axis at most once */
  int64_t n_obs;
  cdrzoo_span columns;      /* of cdrzoo_column */
  cdrzoo_array target;      /* f32 [n_obs, n_targets]; data == NULL and shape 0 where labels are withheld */
  cdrzoo_array target_mask; /* u8 [n_obs, n_targets], 1 = observed; empty = all observed */
  /* Since minor 2. Of cdrzoo_block, none or one: the target as a CSR block [n_obs, n_targets], all observed, columns of
   * a row ascending. Where there is one, `target` is withheld (data == NULL) though the view is labelled. Only plugins
   * whose card says accepts_sparse_targets get one. */
  cdrzoo_span target_sparse;
} cdrzoo_view;
#define CDRZOO_VIEW_LABELLED 1u

/* ---- typed values ---- */
#define CDRZOO_VALUE_NONE 0
#define CDRZOO_VALUE_BOOL 1  /* i: 0 or 1 */
#define CDRZOO_VALUE_INT 2   /* i */
#define CDRZOO_VALUE_REAL 3  /* f */
#define CDRZOO_VALUE_STR 4   /* s */
#define CDRZOO_VALUE_INTS 5  /* list: span of int64_t */
#define CDRZOO_VALUE_REALS 6 /* list: span of double */

/* A key with a value. GROWABLE. Parameters arrive in the order of the card, every key present, validated by the host.
 */
typedef struct cdrzoo_value {
  uint32_t size;
  int32_t type; /* CDRZOO_VALUE_* */
  cdrzoo_str key;
  int64_t i;
  double f;
  cdrzoo_str s;
  cdrzoo_span list;
} cdrzoo_value;

/* ---- the problem ---- */
#define CDRZOO_TASK_REGRESSION 1
#define CDRZOO_TASK_BINARY \
  2 /* labels 0 and 1 (1 = sensitive, responder); predictions are scores, larger = more positive */
#define CDRZOO_TASK_EXPRESSION 3        /* the target is a treated expression profile over the GENE axis */
#define CDRZOO_TASK_EXPRESSION_CHANGE 4 /* the target is treated minus control */

/* What a model is built for. GROWABLE. Fixed at create and load; every later view agrees with it. */
typedef struct cdrzoo_problem {
  uint32_t size;
  int32_t task; /* CDRZOO_TASK_* */
  int32_t n_targets;
  uint32_t flags;
  cdrzoo_span schema;     /* of cdrzoo_entities with count 0: which blocks exist, their kinds, widths and spaces */
  cdrzoo_span columns;    /* of cdrzoo_column with empty arrays: which observation columns exist */
  cdrzoo_str target_unit; /* "ln_ic50_um", "auc", "responder", ... */
} cdrzoo_problem;

#ifdef __cplusplus
}
#endif
#endif /* CDRZOO_ABI_H */
