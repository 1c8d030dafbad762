// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/foreign_hdf5.hpp"

namespace cdrzoo::test {

/// Three samples x four genes, CSR, as AnnData 0.8 and later write them:
///   0 1.5 0 -2 / 0 0 0 0 / 3 0 0.25 4, with the categorical `batch` b1 b2 b1.
inline void write_small_anndata(const std::filesystem::path& path) {
  ForeignHdf5 f(path);
  f.numbers<float>("/X/data", {1.5F, -2, 3, 0.25F, 4});
  f.numbers<std::int32_t>("/X/indices", {1, 3, 0, 2, 3});
  f.numbers<std::int64_t>("/X/indptr", {0, 2, 2, 5});
  f.attribute("/X", "encoding-type", std::string("csr_matrix"));
  f.attribute("/X", "shape", std::vector<std::int64_t>{3, 4});
  f.strings("/obs/cell_id", {"c1", "c2", "c3"});
  f.strings("/obs/batch/categories", {"b1", "b2"});
  f.numbers<std::int8_t>("/obs/batch/codes", {0, 1, 0});
  f.attribute("/obs/batch", "encoding-type", std::string("categorical"));
  f.attribute("/obs", "_index", std::string("cell_id"));
  f.attribute("/obs", "column-order", std::vector<std::string>{"batch"});
  f.strings("/var/_index", {"TP53", "EGFR", "KRAS", "MYC"});
  f.attribute("/var", "_index", std::string("_index"));
}

/// The same matrix as CSC.
inline void put_csc(ForeignHdf5& f, const std::string& object) {
  f.remove(object);
  f.numbers<float>(object + "/data", {3, 1.5F, 0.25F, -2, 4});
  f.numbers<std::int32_t>(object + "/indices", {2, 0, 2, 0, 2});
  f.numbers<std::int32_t>(object + "/indptr", {0, 1, 2, 3, 5});
  f.attribute(object, "encoding-type", std::string("csc_matrix"));
  f.attribute(object, "shape", std::vector<std::int64_t>{3, 4});
}

}  // namespace cdrzoo::test
