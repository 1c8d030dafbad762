// SPDX-License-Identifier: Apache-2.0
// HDF5 files as other programs write them.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cdrzoo::test {

template <typename T>
hid_t native_type() {
  if constexpr (std::is_same_v<T, float>) return H5T_NATIVE_FLOAT;
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
  if constexpr (std::is_same_v<T, std::int8_t>) return H5T_NATIVE_INT8;
  if constexpr (std::is_same_v<T, std::int32_t>) return H5T_NATIVE_INT32;
  if constexpr (std::is_same_v<T, std::int64_t>) return H5T_NATIVE_INT64;
  if constexpr (std::is_same_v<T, std::uint64_t>) return H5T_NATIVE_UINT64;
}

/// Groups above an object are made as needed. Writing an object or attribute again replaces it.
class ForeignHdf5 {
 public:
  enum class Mode { create, edit };
  explicit ForeignHdf5(const std::filesystem::path& path, Mode mode = Mode::create)
      : file_(mode == Mode::create ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)
                                   : H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)) {
    if (file_ < 0) throw std::runtime_error("cannot open " + path.string());
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    parents_ = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(parents_, 1);
  }
  ForeignHdf5(const ForeignHdf5&) = delete;
  ForeignHdf5& operator=(const ForeignHdf5&) = delete;
  ~ForeignHdf5() {
    H5Pclose(parents_);
    H5Fclose(file_);
  }

  struct Form {
    hid_t type = -1;             ///< in the file; -1: as in memory
    std::vector<hsize_t> chunk;  ///< empty: contiguous
    bool deflate = false;
  };

  template <typename T>
  void numbers(const std::string& object, const std::vector<T>& values, std::vector<hsize_t> shape = {},
               const Form& form = {}) {
    if (shape.empty()) shape = {values.size()};
    const hid_t id = create(object, form.type < 0 ? native_type<T>() : form.type, shape, form);
    if (!values.empty()) H5Dwrite(id, native_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(id);
  }
  /// Declared, never written.
  void hollow(const std::string& object, hid_t type, const std::vector<hsize_t>& shape, const Form& form) {
    H5Dclose(create(object, type, shape, form));
  }
  /// As h5py writes numpy's bool.
  void booleans(const std::string& object, const std::vector<std::int8_t>& values, std::vector<hsize_t> shape = {}) {
    if (shape.empty()) shape = {values.size()};
    const hid_t type = H5Tenum_create(H5T_STD_I8LE);
    for (const auto& [name, value] : std::map<std::string, std::int8_t>{{"FALSE", 0}, {"TRUE", 1}}) {
      H5Tenum_insert(type, name.c_str(), &value);
    }
    const hid_t id = create(object, type, shape, {});
    H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(id);
    H5Tclose(type);
  }
  void strings(const std::string& object, const std::vector<std::string>& values, H5T_str_t padding = H5T_STR_ERROR) {
    const hid_t type = text_type(values, padding);
    const hid_t id = create(object, type, {values.size()}, {});
    const auto [words, bytes] = memory_of(values, type);
    if (!values.empty()) {
      H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
               H5Tis_variable_str(type) > 0 ? static_cast<const void*>(words.data()) : bytes.data());
    }
    H5Dclose(id);
    H5Tclose(type);
  }
  void group(const std::string& object) {
    remove(object);
    H5Gclose(H5Gcreate2(file_, object.c_str(), parents_, H5P_DEFAULT, H5P_DEFAULT));
  }
  void remove(const std::string& object) {
    if (exists(object)) H5Ldelete(file_, object.c_str(), H5P_DEFAULT);
  }
  void hard_link(const std::string& target, const std::string& name) {
    remove(name);
    H5Lcreate_hard(file_, target.c_str(), file_, name.c_str(), parents_, H5P_DEFAULT);
  }
  void soft_link(const std::string& target, const std::string& name) {
    remove(name);
    H5Lcreate_soft(target.c_str(), file_, name.c_str(), parents_, H5P_DEFAULT);
  }

  void attribute(const std::string& object, const std::string& name, const std::string& value) {
    const hid_t type = text_type({value}, H5T_STR_ERROR);
    const char* word = value.c_str();
    put(object, name, type, H5Screate(H5S_SCALAR), &word);
    H5Tclose(type);
  }
  void attribute(const std::string& object, const std::string& name, const std::vector<std::string>& values,
                 H5T_str_t padding = H5T_STR_ERROR) {
    const hid_t type = text_type(values, padding);
    const auto [words, bytes] = memory_of(values, type);
    put(object, name, type, line(values.size()),
        H5Tis_variable_str(type) > 0 ? static_cast<const void*>(words.data()) : bytes.data());
    H5Tclose(type);
  }
  template <typename T>
  void attribute(const std::string& object, const std::string& name, const std::vector<T>& values) {
    put(object, name, native_type<T>(), line(values.size()), values.data());
  }
  void reference(const std::string& object, const std::string& name, const std::string& target) {
    hobj_ref_t reference = 0;
    H5Rcreate(&reference, file_, target.c_str(), H5R_OBJECT, -1);
    put(object, name, H5T_STD_REF_OBJ, H5Screate(H5S_SCALAR), &reference);
  }
  void remove_attribute(const std::string& object, const std::string& name) {
    const hid_t owner = H5Oopen(file_, object.c_str(), H5P_DEFAULT);
    H5Adelete(owner, name.c_str());
    H5Oclose(owner);
  }
  /// Changes one element of a rank 1 data set.
  void poke(const std::string& object, hsize_t position, std::int64_t value) {
    const hid_t id = H5Dopen2(file_, object.c_str(), H5P_DEFAULT);
    const hid_t space = H5Dget_space(id);
    const hsize_t one = 1;
    const hid_t memory = H5Screate_simple(1, &one, nullptr);
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &position);
    if (H5Dwrite(id, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value) < 0) {
      throw std::runtime_error("cannot change " + object);
    }
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(id);
  }

 private:
  [[nodiscard]] bool exists(const std::string& object) const {
    for (std::size_t slash = object.find('/', 1); slash != std::string::npos; slash = object.find('/', slash + 1)) {
      if (H5Lexists(file_, object.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
    }
    return H5Lexists(file_, object.c_str(), H5P_DEFAULT) > 0;
  }
  static hid_t line(hsize_t count) { return H5Screate_simple(1, &count, nullptr); }
  /// H5T_STR_ERROR: of variable length.
  static hid_t text_type(const std::vector<std::string>& values, H5T_str_t padding) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    std::size_t width = 1;
    for (const auto& value : values) width = std::max(width, value.size());
    H5Tset_size(type, padding == H5T_STR_ERROR ? H5T_VARIABLE : width);
    if (padding != H5T_STR_ERROR) H5Tset_strpad(type, padding);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
  }
  static std::pair<std::vector<const char*>, std::string> memory_of(const std::vector<std::string>& values,
                                                                    hid_t type) {
    std::vector<const char*> words;
    std::string bytes;
    const bool spaces = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    for (const auto& value : values) {
      words.push_back(value.c_str());
      if (H5Tis_variable_str(type) > 0) continue;
      std::string padded = value;
      padded.resize(H5Tget_size(type), spaces ? ' ' : '\0');
      bytes += padded;
    }
    return {words, bytes};
  }
  hid_t create(const std::string& object, hid_t type, const std::vector<hsize_t>& shape, const Form& form) {
    remove(object);
    const std::vector<hsize_t> most(shape.size(), H5S_UNLIMITED);
    const hid_t space =
        H5Screate_simple(static_cast<int>(shape.size()), shape.data(), form.chunk.empty() ? nullptr : most.data());
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (!form.chunk.empty()) H5Pset_chunk(properties, static_cast<int>(form.chunk.size()), form.chunk.data());
    if (form.deflate) H5Pset_deflate(properties, 1);
    const hid_t id = H5Dcreate2(file_, object.c_str(), type, space, parents_, properties, H5P_DEFAULT);
    H5Pclose(properties);
    H5Sclose(space);
    if (id < 0) throw std::runtime_error("cannot make " + object);
    return id;
  }
  void put(const std::string& object, const std::string& name, hid_t type, hid_t space, const void* value) const {
    const hid_t owner = H5Oopen(file_, object.c_str(), H5P_DEFAULT);
    if (H5Aexists(owner, name.c_str()) > 0) H5Adelete(owner, name.c_str());
    const hid_t id = H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (id < 0) throw std::runtime_error("cannot make the attribute " + name + " of " + object);
    if (H5Sget_simple_extent_npoints(space) > 0) H5Awrite(id, type, value);
    H5Aclose(id);
    H5Sclose(space);
    H5Oclose(owner);
  }

  hid_t file_;
  hid_t parents_ = -1;
};

}  // namespace cdrzoo::test
