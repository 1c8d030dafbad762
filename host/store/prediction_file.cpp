// SPDX-License-Identifier: Apache-2.0
#include "store/prediction_file.hpp"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

constexpr int kFormatVersion = 1;
constexpr hsize_t kChunkRows = 16384;
constexpr hsize_t kChunkValues = 65536;  // of a matrix
constexpr std::int64_t kMaxRows = std::int64_t{1} << 31;

/// An HDF5 identifier that is closed on scope exit.
class Id {
 public:
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id(const Id&) = delete;
  Id& operator=(const Id&) = delete;
  Id& operator=(Id&&) = delete;
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }  // NOLINT(google-explicit-constructor): it is handed to the C interface

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void silence_hdf5() {
  static std::once_flag once;
  std::call_once(once, [] { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); });
}

/// libhdf5 refuses to open two files in memory under one name.
std::string unique_name() {
  static std::atomic<unsigned> next{0};
  return "predictions-" + std::to_string(next++) + ".h5";
}

struct Failure {
  std::string what;
};

Id checked(hid_t id, herr_t (*close)(hid_t), const char* what) {
  if (id < 0) throw Failure{what};
  return {id, close};
}
void checked(herr_t status, const char* what) {
  if (status < 0) throw Failure{what};
}

Id string_type() {
  Id type = checked(H5Tcopy(H5T_C_S1), &H5Tclose, "a text type");
  checked(H5Tset_size(type, H5T_VARIABLE), "a text type");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "a text type");
  return type;
}

// ---- writing ----

/// Times are off so that equal contents are equal bytes.
/// \param columns of a matrix; 0 = a column
Id dataset_properties(hsize_t rows, bool compress, hsize_t columns = 0) {
  Id properties = checked(H5Pcreate(H5P_DATASET_CREATE), &H5Pclose, "properties");
  checked(H5Pset_obj_track_times(properties, false), "properties");
  if (compress && rows > 0) {
    const hsize_t in_one = columns > 0 ? std::max<hsize_t>(1, kChunkValues / columns) : kChunkRows;
    const std::array<hsize_t, 2> chunk = {std::min(rows, in_one), columns};
    checked(H5Pset_chunk(properties, columns > 0 ? 2 : 1, chunk.data()), "chunks");
    if (H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0) {
      checked(H5Pset_shuffle(properties), "the shuffle filter");
      checked(H5Pset_deflate(properties, 4), "the deflate filter");
    }
  }
  return properties;
}

void write_column(hid_t file, const char* name, hid_t stored, hid_t memory, const void* data, std::size_t size) {
  const hsize_t rows = size;
  const Id space = checked(H5Screate_simple(1, &rows, nullptr), &H5Sclose, name);
  const Id properties = dataset_properties(rows, true);
  const Id set = checked(H5Dcreate2(file, name, stored, space, H5P_DEFAULT, properties, H5P_DEFAULT), &H5Dclose, name);
  if (rows > 0) checked(H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), name);
}

/// [rows, columns]
void write_matrix(hid_t file, const char* name, hid_t stored, hid_t memory, const void* data, std::int64_t rows,
                  std::int64_t columns) {
  const std::array<hsize_t, 2> shape = {static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  const Id space = checked(H5Screate_simple(2, shape.data(), nullptr), &H5Sclose, name);
  const bool empty = rows == 0 || columns == 0;
  const Id properties = dataset_properties(empty ? 0 : shape[0], true, shape[1]);
  const Id set = checked(H5Dcreate2(file, name, stored, space, H5P_DEFAULT, properties, H5P_DEFAULT), &H5Dclose, name);
  if (!empty) checked(H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), name);
}

Id new_group(hid_t file, const char* name) {
  return checked(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), &H5Gclose, name);
}

void write_names(hid_t file, const std::string& name, const std::vector<std::string>& values) {
  const hsize_t rows = values.size();
  const Id space = checked(H5Screate_simple(1, &rows, nullptr), &H5Sclose, name.c_str());
  const Id properties = dataset_properties(rows, false);
  const Id type = string_type();
  const Id set =
      checked(H5Dcreate2(file, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT), &H5Dclose, "names");
  std::vector<const char*> pointers;
  pointers.reserve(values.size());
  for (const auto& value : values) pointers.push_back(value.c_str());
  if (rows > 0) checked(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), "names");
}

/// A text column as int32 codes and the sorted names that they stand for.
void write_coded(hid_t file, const std::string& name, const std::vector<std::string>& values) {
  std::map<std::string, std::int32_t> code;
  for (const auto& value : values) code.emplace(value, 0);
  std::vector<std::string> names;
  names.reserve(code.size());
  for (auto& [value, index] : code) {
    index = static_cast<std::int32_t>(names.size());
    names.push_back(value);
  }
  std::vector<std::int32_t> codes;
  codes.reserve(values.size());
  for (const auto& value : values) codes.push_back(code.at(value));
  write_column(file, name.c_str(), H5T_STD_I32LE, H5T_NATIVE_INT32, codes.data(), codes.size());
  write_names(file, "names/" + name, names);
}

void write_attribute(hid_t file, const char* name, int value) {
  const Id space = checked(H5Screate(H5S_SCALAR), &H5Sclose, name);
  const Id attribute = checked(H5Acreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT), &H5Aclose, name);
  checked(H5Awrite(attribute, H5T_NATIVE_INT, &value), name);
}

/// Every column of a table of conditions, once for writing and once for reading.
template <typename Table, typename Text, typename Integer, typename Real>
void each_column(Table& t, Text text, Integer integer, Real real) {
  text("part", t.part);
  text("name", t.name);
  text("context", t.context);
  text("perturbation", t.perturbation);
  text("second", t.second);
  text("domain", t.domain);
  real("dose_log10_molar", t.dose_log10_molar);
  real("time_h", t.time_h);
  integer("condition", t.condition);
  integer("n_rows", t.n_rows);
  integer("n_predicted", t.n_predicted);
  integer("n_references", t.n_references);
  integer("in_context", t.in_context);
  integer("singles_seen", t.singles_seen);
  integer("status", t.status);
  integer("control_row", t.control_row);
  integer("train_row", t.train_row);
}

/// What is wrong with the sizes of a table; "" = nothing.
std::string size_error(const ConditionTable& t) {
  const std::size_t n = t.size();
  std::string wrong;
  const auto column = [&](const char* name, const auto& values) {
    if (values.size() != n) wrong = name;
  };
  each_column(t, column, column, column);
  for (const ConditionTable::Metric& m : t.metrics) {
    column(m.name.c_str(), m.value);
    column(m.name.c_str(), m.flag);
  }
  const auto genes = static_cast<std::size_t>(t.genes);
  if (t.truth.size() != n * genes || t.prediction.size() != n * genes) wrong = "truth, prediction";
  if (t.deg.size() != n * static_cast<std::size_t>(t.deg_columns)) wrong = "deg";
  const auto points_into = [&](const std::vector<std::int32_t>& rows, const std::vector<float>& matrix, int lowest) {
    const auto count = static_cast<std::int64_t>(genes > 0 ? matrix.size() / genes : 0);
    return std::all_of(rows.begin(), rows.end(), [&](std::int32_t r) { return r >= lowest && r < count; });
  };
  if (!points_into(t.control_row, t.control, 0)) wrong = "control_row";
  if (!points_into(t.train_row, t.train_perturbed, -1)) wrong = "train_row";
  if (!t.train_shifted.empty() && t.train_shifted.size() != t.control.size()) wrong = "train_shifted";
  const bool genes_known =
      std::all_of(t.deg.begin(), t.deg.end(), [&](std::int32_t g) { return g >= -1 && g < t.genes; });
  return genes_known ? wrong : "deg";
}

void write_conditions(hid_t file, const ConditionTable& t) {
  if (const std::string wrong = size_error(t); !wrong.empty()) {
    throw std::logic_error("a table of conditions has a wrong size of " + wrong);
  }
  const Id group = new_group(file, "conditions");
  const Id names = new_group(group, "names");
  each_column(
      t, [&](const char* name, const auto& values) { write_coded(group, name, values); },
      [&](const char* name, const auto& values) {
        write_column(group, name, H5T_STD_I32LE, H5T_NATIVE_INT32, values.data(), values.size());
      },
      [&](const char* name, const auto& values) {
        write_column(group, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, values.data(), values.size());
      });
  const auto n = static_cast<std::int64_t>(t.size());
  const auto profiles = [&](const char* name, const std::vector<float>& values) {
    const std::int64_t rows = t.genes > 0 ? static_cast<std::int64_t>(values.size()) / t.genes : 0;
    write_matrix(group, name, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values.data(), rows, t.genes);
  };
  profiles("truth", t.truth);
  profiles("prediction", t.prediction);
  profiles("control", t.control);
  profiles("train_perturbed", t.train_perturbed);
  profiles("train_shifted", t.train_shifted);
  write_matrix(group, "deg", H5T_STD_I32LE, H5T_NATIVE_INT32, t.deg.data(), n, t.deg_columns);
  const Id metrics = new_group(group, "metrics");
  const Id flags = new_group(group, "flags");
  const Id flag_names = new_group(flags, "names");
  std::vector<std::string> order;
  for (const ConditionTable::Metric& m : t.metrics) {
    write_column(metrics, m.name.c_str(), H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, m.value.data(), m.value.size());
    write_coded(flags, m.name, m.flag);
    order.push_back(m.name);
  }
  write_names(group, "metric_names", order);
}

// ---- reading ----

std::int64_t length(hid_t set, const char* name) {
  const Id space = checked(H5Dget_space(set), &H5Sclose, name);
  hsize_t rows = 0;
  if (H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &rows, nullptr) != 1) {
    throw Failure{std::string(name) + " (one dimension is expected)"};
  }
  if (rows > static_cast<hsize_t>(kMaxRows)) throw Failure{std::string(name) + " (too many rows)"};
  return static_cast<std::int64_t>(rows);
}

template <typename T>
std::vector<T> read_column(hid_t file, const char* name, hid_t memory, H5T_class_t expected, std::int64_t rows) {
  const Id set = checked(H5Dopen2(file, name, H5P_DEFAULT), &H5Dclose, name);
  const Id type = checked(H5Dget_type(set), &H5Tclose, name);
  if (H5Tget_class(type) != expected) throw Failure{std::string(name) + " (wrong type)"};
  const std::int64_t found = length(set, name);
  if (rows >= 0 && found != rows) {
    throw Failure{std::string(name) + " (" + std::to_string(found) + " rows, " + std::to_string(rows) + " expected)"};
  }
  std::vector<T> values(static_cast<std::size_t>(found));
  if (found > 0) checked(H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name);
  return values;
}

/// \param rows, columns as expected; -1 = any, and set
template <typename T>
std::vector<T> read_matrix(hid_t file, const char* name, hid_t memory, H5T_class_t expected, std::int64_t& rows,
                           std::int64_t& columns) {
  const Id set = checked(H5Dopen2(file, name, H5P_DEFAULT), &H5Dclose, name);
  const Id type = checked(H5Dget_type(set), &H5Tclose, name);
  if (H5Tget_class(type) != expected) throw Failure{std::string(name) + " (wrong type)"};
  const Id space = checked(H5Dget_space(set), &H5Sclose, name);
  std::array<hsize_t, 2> shape{};
  if (H5Sget_simple_extent_ndims(space) != 2 || H5Sget_simple_extent_dims(space, shape.data(), nullptr) != 2) {
    throw Failure{std::string(name) + " (two dimensions are expected)"};
  }
  const auto limit = static_cast<hsize_t>(kMaxRows);
  if (shape[0] > limit || shape[1] > limit || (shape[1] > 0 && shape[0] > (limit << 3U) / shape[1])) {
    throw Failure{std::string(name) + " (too large)"};
  }
  const std::array<std::int64_t, 2> found = {static_cast<std::int64_t>(shape[0]), static_cast<std::int64_t>(shape[1])};
  if ((rows >= 0 && rows != found[0]) || (columns >= 0 && columns != found[1])) {
    throw Failure{std::string(name) + " (" + std::to_string(found[0]) + " x " + std::to_string(found[1]) +
                  " values do not fit the others)"};
  }
  rows = found[0];
  columns = found[1];
  std::vector<T> values(static_cast<std::size_t>(rows * columns));
  if (!values.empty()) checked(H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name);
  return values;
}

std::vector<std::string> read_names(hid_t file, const std::string& name) {
  const Id set = checked(H5Dopen2(file, name.c_str(), H5P_DEFAULT), &H5Dclose, name.c_str());
  const Id stored = checked(H5Dget_type(set), &H5Tclose, name.c_str());
  if (H5Tget_class(stored) != H5T_STRING || H5Tis_variable_str(stored) <= 0) throw Failure{name + " (text expected)"};
  const Id type = string_type();
  const Id space = checked(H5Dget_space(set), &H5Sclose, name.c_str());
  std::vector<char*> pointers(static_cast<std::size_t>(length(set, name.c_str())), nullptr);
  std::vector<std::string> values;
  if (pointers.empty()) return values;
  const herr_t status = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data());
  if (status >= 0) {
    values.reserve(pointers.size());
    for (const char* text : pointers) values.emplace_back(text == nullptr ? "" : text);
  }
  H5Dvlen_reclaim(type, space, H5P_DEFAULT, pointers.data());
  checked(status, name.c_str());
  return values;
}

std::vector<std::string> read_coded(hid_t file, const std::string& name, std::int64_t rows) {
  const auto codes = read_column<std::int32_t>(file, name.c_str(), H5T_NATIVE_INT32, H5T_INTEGER, rows);
  const auto names = read_names(file, "names/" + name);
  std::vector<std::string> values;
  values.reserve(codes.size());
  for (const auto code : codes) {
    if (code < 0 || static_cast<std::size_t>(code) >= names.size()) {
      throw Failure{name + " (code " + std::to_string(code) + " of " + std::to_string(names.size()) + ")"};
    }
    values.push_back(names[static_cast<std::size_t>(code)]);
  }
  return values;
}

ConditionTable read_conditions(hid_t file) {
  const Id group = checked(H5Gopen2(file, "conditions", H5P_DEFAULT), &H5Gclose, "conditions");
  ConditionTable t;
  t.condition = read_column<std::int32_t>(group, "condition", H5T_NATIVE_INT32, H5T_INTEGER, -1);
  auto n = static_cast<std::int64_t>(t.size());
  each_column(
      t, [&](const char* name, auto& values) { values = read_coded(group, name, n); },
      [&](const char* name, auto& values) {
        values = read_column<std::int32_t>(group, name, H5T_NATIVE_INT32, H5T_INTEGER, n);
      },
      [&](const char* name, auto& values) {
        values = read_column<double>(group, name, H5T_NATIVE_DOUBLE, H5T_FLOAT, n);
      });
  t.genes = -1;
  t.deg_columns = -1;
  const auto profiles = [&](const char* name, std::int64_t rows) {
    return read_matrix<float>(group, name, H5T_NATIVE_FLOAT, H5T_FLOAT, rows, t.genes);
  };
  t.truth = profiles("truth", n);
  t.prediction = profiles("prediction", n);
  t.control = profiles("control", -1);
  t.train_perturbed = profiles("train_perturbed", -1);
  t.train_shifted = profiles("train_shifted", -1);
  t.deg = read_matrix<std::int32_t>(group, "deg", H5T_NATIVE_INT32, H5T_INTEGER, n, t.deg_columns);
  const Id flags = checked(H5Gopen2(group, "flags", H5P_DEFAULT), &H5Gclose, "flags");
  for (const std::string& name : read_names(group, "metric_names")) {
    const std::string path = "metrics/" + name;
    t.metrics.push_back(
        {name, read_column<double>(group, path.c_str(), H5T_NATIVE_DOUBLE, H5T_FLOAT, n), read_coded(flags, name, n)});
  }
  if (const std::string wrong = size_error(t); !wrong.empty()) {
    throw Failure{"conditions/" + wrong + " (the values do not fit each other)"};
  }
  return t;
}

}  // namespace

std::string encode_predictions(const PredictionTable& table) {
  const std::size_t n = table.truth.size();
  for (const std::size_t size :
       {table.part.size(), table.record.size(), table.sample.size(), table.drug.size(), table.tissue.size(),
        table.domain.size(), table.prediction.size(), table.status.size()}) {
    if (size != n) throw std::logic_error("the columns of a prediction table differ in length");
  }
  silence_hdf5();
  try {
    const Id access = checked(H5Pcreate(H5P_FILE_ACCESS), &H5Pclose, "properties");
    checked(H5Pset_fapl_core(access, std::size_t{1} << 20U, false), "a file in memory");
    // The newer superblocks keep a mark "open for writing", which an image would inherit, and groups keep times.
    checked(H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST), "a file in memory");
    const Id creation = checked(H5Pcreate(H5P_FILE_CREATE), &H5Pclose, "properties");
    const Id file = checked(H5Fcreate(unique_name().c_str(), H5F_ACC_TRUNC, creation, access), &H5Fclose, "a file");
    write_attribute(file, "cdrzoo_predictions_version", kFormatVersion);
    {
      const Id names = checked(H5Gcreate2(file, "names", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), &H5Gclose, "names");
      write_coded(file, "part", table.part);
      write_column(file, "record", H5T_STD_I32LE, H5T_NATIVE_INT32, table.record.data(), n);
      write_coded(file, "sample", table.sample);
      write_coded(file, "drug", table.drug);
      write_coded(file, "tissue", table.tissue);
      write_coded(file, "domain", table.domain);
      write_column(file, "truth", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, table.truth.data(), n);
      write_column(file, "prediction", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, table.prediction.data(), n);
      write_column(file, "status", H5T_STD_I32LE, H5T_NATIVE_INT32, table.status.data(), n);
    }
    if (table.conditions) write_conditions(file, *table.conditions);
    checked(H5Fflush(file, H5F_SCOPE_GLOBAL), "the file");
    const ssize_t bytes = H5Fget_file_image(file, nullptr, 0);
    if (bytes <= 0) throw Failure{"the file image"};
    std::string image(static_cast<std::size_t>(bytes), '\0');
    if (H5Fget_file_image(file, image.data(), image.size()) != bytes) throw Failure{"the file image"};
    return image;
  } catch (const Failure& failure) {
    throw IoError("cannot encode predictions: HDF5 failed at " + failure.what);
  }
}

PredictionTable decode_predictions(const std::string& bytes, const std::string& where) {
  silence_hdf5();
  try {
    const Id access = checked(H5Pcreate(H5P_FILE_ACCESS), &H5Pclose, "properties");
    checked(H5Pset_fapl_core(access, std::size_t{1} << 16U, false), "a file in memory");
    // libhdf5 copies the image, the pointer is not kept.
    checked(H5Pset_file_image(access, const_cast<char*>(bytes.data()), bytes.size()), "the file image");
    const Id file = checked(H5Fopen(unique_name().c_str(), H5F_ACC_RDONLY, access), &H5Fclose, "the HDF5 header");
    {
      const Id attribute = checked(H5Aopen(file, "cdrzoo_predictions_version", H5P_DEFAULT), &H5Aclose, "the version");
      int version = 0;
      checked(H5Aread(attribute, H5T_NATIVE_INT, &version), "the version");
      if (version != kFormatVersion) {
        throw DataError(where + ": version " + std::to_string(version) + " was found, this program reads version " +
                        std::to_string(kFormatVersion));
      }
    }
    PredictionTable table;
    table.truth = read_column<double>(file, "truth", H5T_NATIVE_DOUBLE, H5T_FLOAT, -1);
    const auto n = static_cast<std::int64_t>(table.truth.size());
    table.prediction = read_column<double>(file, "prediction", H5T_NATIVE_DOUBLE, H5T_FLOAT, n);
    table.record = read_column<std::int32_t>(file, "record", H5T_NATIVE_INT32, H5T_INTEGER, n);
    table.status = read_column<std::int32_t>(file, "status", H5T_NATIVE_INT32, H5T_INTEGER, n);
    table.part = read_coded(file, "part", n);
    table.sample = read_coded(file, "sample", n);
    table.drug = read_coded(file, "drug", n);
    table.tissue = read_coded(file, "tissue", n);
    table.domain = read_coded(file, "domain", n);
    if (H5Lexists(file, "conditions", H5P_DEFAULT) > 0) table.conditions = read_conditions(file);
    return table;
  } catch (const Failure& failure) {
    throw DataError(where + ": damaged, HDF5 cannot read " + failure.what);
  }
}

}  // namespace cdrzoo
