// SPDX-License-Identifier: Apache-2.0
// import_bench make csr|dense FILE [ROWS]   writes an h5ad file of 2,000 genes; about 1 GB with 250,000 rows (csr) or
//                                           125,000 rows (dense)
// import_bench read FILE [LAYER]            reads it through open_matrix: seconds and peak memory
// import_bench dump FILE LAYER OUT          the values as float32, line by line, into OUT; the annotations, separated
//                                           by tabs, into OUT.samples and OUT.genes: to compare with other readers
#include <hdf5.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "import/matrix_source.hpp"

using namespace cdrzoo;

namespace {

constexpr std::int64_t kGenes = 2000;
constexpr std::int64_t kStored = 500;  // values in a row of the sparse matrix

void write_text_attribute(hid_t object, const char* name, const std::string& value) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, value.size());
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(id, type, value.data());
  H5Aclose(id);
  H5Sclose(space);
  H5Tclose(type);
}

void write_names(hid_t file, const char* group, const std::string& prefix, std::int64_t count) {
  constexpr std::size_t kWidth = 12;
  const hid_t owner = H5Gcreate2(file, group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  write_text_attribute(owner, "_index", "_index");
  std::string bytes;
  for (std::int64_t i = 0; i < count; ++i) {
    std::string name = prefix + std::to_string(i);
    name.resize(kWidth, '\0');
    bytes += name;
  }
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, kWidth);
  const auto extent = static_cast<hsize_t>(count);
  const hid_t space = H5Screate_simple(1, &extent, nullptr);
  const hid_t id = H5Dcreate2(owner, "_index", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data());
  H5Dclose(id);
  H5Sclose(space);
  H5Tclose(type);
  H5Gclose(owner);
}

/// A data set that is written from front to back, in chunks.
class Written {
 public:
  Written(hid_t owner, const char* name, hid_t type, std::vector<hsize_t> extent, std::vector<hsize_t> chunk)
      : type_(type), extent_(std::move(extent)) {
    const int rank = static_cast<int>(extent_.size());
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, rank, chunk.data());
    const hid_t space = H5Screate_simple(rank, extent_.data(), nullptr);
    id_ = H5Dcreate2(owner, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Sclose(space);
    H5Pclose(properties);
  }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;
  ~Written() { H5Dclose(id_); }
  void append(const void* values, hsize_t rows) {
    const hid_t space = H5Dget_space(id_);
    std::vector<hsize_t> from(extent_.size(), 0);
    std::vector<hsize_t> count = extent_;
    from[0] = done_;
    count[0] = rows;
    H5Sselect_hyperslab(space, H5S_SELECT_SET, from.data(), nullptr, count.data(), nullptr);
    const hid_t memory = H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr);
    H5Dwrite(id_, type_, memory, space, H5P_DEFAULT, values);
    H5Sclose(memory);
    H5Sclose(space);
    done_ += rows;
  }

 private:
  hid_t type_;
  hid_t id_ = -1;
  std::vector<hsize_t> extent_;
  hsize_t done_ = 0;
};

void make(bool sparse, const std::string& path, std::int64_t rows) {
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (file < 0) throw IoError("cannot write " + path);
  write_names(file, "obs", "cell", rows);
  write_names(file, "var", "gene", kGenes);
  std::uint64_t counter = 0;
  const auto uniform = [&] { return static_cast<float>(splitmix64(0, counter++) >> 40U) * 0x1p-24F; };
  constexpr std::int64_t kBlock = 1000;
  if (sparse) {
    const hid_t x = H5Gcreate2(file, "X", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    write_text_attribute(x, "encoding-type", "csr_matrix");
    const hsize_t two = 2;
    const hid_t space = H5Screate_simple(1, &two, nullptr);
    const hid_t shape = H5Acreate2(x, "shape", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const std::int64_t extent[2] = {rows, kGenes};
    H5Awrite(shape, H5T_NATIVE_INT64, extent);
    H5Aclose(shape);
    H5Sclose(space);
    const auto count = static_cast<hsize_t>(rows * kStored);
    {
      Written data(x, "data", H5T_NATIVE_FLOAT, {count}, {10000});
      Written indices(x, "indices", H5T_NATIVE_INT32, {count}, {10000});
      Written starts(x, "indptr", H5T_NATIVE_INT64, {static_cast<hsize_t>(rows + 1)}, {1000});
      const std::int64_t zero = 0;
      starts.append(&zero, 1);
      for (std::int64_t first = 0; first < rows; first += kBlock) {
        std::vector<float> values;
        std::vector<std::int32_t> columns;
        std::vector<std::int64_t> ends;
        for (std::int64_t row = first; row < std::min(first + kBlock, rows); ++row) {
          for (std::int64_t k = 0; k < kStored; ++k) {
            values.push_back(uniform());
            columns.push_back(static_cast<std::int32_t>((k * kGenes / kStored + row) % kGenes));
          }
          ends.push_back((row + 1) * kStored);
        }
        data.append(values.data(), values.size());
        indices.append(columns.data(), columns.size());
        starts.append(ends.data(), ends.size());
      }
    }
    H5Gclose(x);
  } else {
    Written x(file, "X", H5T_NATIVE_FLOAT, {static_cast<hsize_t>(rows), kGenes}, {100, 500});
    for (std::int64_t first = 0; first < rows; first += kBlock) {
      std::vector<float> values(static_cast<std::size_t>(std::min(kBlock, rows - first) * kGenes));
      for (float& value : values) value = uniform();
      x.append(values.data(), values.size() / static_cast<std::size_t>(kGenes));
    }
  }
  H5Fclose(file);
}

MatrixSpec spec_of(const std::string& path, const std::string& layer) {
  MatrixSpec spec;
  spec.file = path;
  spec.layer = layer;
  return spec;
}

void read(const std::string& path, const std::string& layer) {
  const auto start = std::chrono::steady_clock::now();
  const auto source = open_matrix(spec_of(path, layer));
  const std::size_t samples = source->samples().size();
  const std::size_t genes = source->genes().size();
  const std::size_t width = source->lines() == MatrixSource::Lines::samples ? genes : samples;
  double sum = 0;
  source->read([&](std::int64_t, const float* values) {
    for (std::size_t i = 0; i < width; ++i) sum += static_cast<double>(values[i]);
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf("%zu samples x %zu genes, sum %.9g: %.2f s, peak memory %.0f MiB\n", samples, genes, sum, seconds,
              static_cast<double>(usage.ru_maxrss) / 1024);
}

void write_table(const TextColumns& columns, const std::string& path) {
  std::ofstream out(path);
  for (std::size_t c = 0; c < columns.names.size(); ++c) out << (c == 0 ? "" : "\t") << columns.names[c];
  for (std::size_t row = 0; row < static_cast<std::size_t>(columns.rows()); ++row) {
    out << "\n";
    for (std::size_t c = 0; c < columns.names.size(); ++c) out << (c == 0 ? "" : "\t") << columns.values[c][row];
  }
  out << "\n";
}

void dump(const std::string& path, const std::string& layer, const std::string& to) {
  const auto source = open_matrix(spec_of(path, layer));
  const bool by_sample = source->lines() == MatrixSource::Lines::samples;
  const std::size_t width = (by_sample ? source->genes() : source->samples()).size();
  std::ofstream out(to, std::ios::binary);
  source->read([&](std::int64_t, const float* values) {
    out.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(width * sizeof(float)));
  });
  write_table(source->sample_annotations(), to + ".samples");
  write_table(source->gene_annotations(), to + ".genes");
  std::printf("lines are %s of %zu values\n", by_sample ? "samples" : "genes", width);
}

int run(const std::vector<std::string>& words) {
  const std::string what = words.empty() ? "" : words[0];
  if (what == "make" && (words.size() == 3 || words.size() == 4) && (words[1] == "csr" || words[1] == "dense")) {
    const bool sparse = words[1] == "csr";
    const std::int64_t rows = words.size() == 4 ? std::stoll(words[3]) : sparse ? 250000 : 125000;
    make(sparse, words[2], rows);
  } else if (what == "read" && (words.size() == 2 || words.size() == 3)) {
    read(words[1], words.size() == 3 ? words[2] : "");
  } else if (what == "dump" && words.size() == 4) {
    dump(words[1], words[2], words[3]);
  } else {
    std::puts("usage: import_bench make csr|dense FILE [ROWS] | read FILE [LAYER] | dump FILE LAYER OUT");
    return kExitUsage;
  }
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return kExitUsage;
  }
}
