// SPDX-License-Identifier: Apache-2.0
#include "data/hdf5_file.hpp"

#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <numeric>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "support/catch.hpp"
#include "support/foreign_hdf5.hpp"
#include "support/temporary_folder.hpp"

using cdrzoo::Hdf5File;
using cdrzoo::Hdf5Type;
using cdrzoo::Hdf5Writer;
using cdrzoo::test::contains;
using cdrzoo::test::ForeignHdf5;
using cdrzoo::test::TemporaryFolder;

namespace {

std::vector<float> ramp(std::size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.5F);
  return values;
}

void write_sample_file(const std::filesystem::path& path) {
  Hdf5Writer writer(path);
  writer.write("/a/b/matrix", Hdf5Type::f32, {7, 13}, ramp(91).data());
  writer.write("/a/index", std::vector<std::int32_t>{3, -1, 4});
  writer.write("/a/empty", std::vector<double>{});
  writer.strings("/a/names", {"x", "", "Köln"});
  writer.strings("/a/none", {});
  writer.text("/note", "two\nlines");
  writer.group("/hollow");
  writer.attribute("/", "version", std::int64_t{1});
  writer.attribute("/a", "unit", "ln_ic50_um");
  writer.attribute("/a", "nothing", "");
  writer.commit();
}

std::size_t entries(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator all(folder);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("What was written is read back, mapped and aligned") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a b.h5";
  write_sample_file(path);
  CHECK(entries(folder.path()) == 1);

  const Hdf5File file(path);
  const auto block = file.block("/a/b/matrix");
  CHECK(block.mapped);
  CHECK(block.type == Hdf5Type::f32);
  CHECK(block.shape == std::vector<std::int64_t>{7, 13});
  CHECK(reinterpret_cast<std::uintptr_t>(block.data) % 64 == 0);
  const auto matrix = file.matrix<float>("/a/b/matrix", 7, 13);
  for (std::int64_t i = 0; i < 91; ++i) REQUIRE(matrix.data[i] == static_cast<float>(i) + 0.5F);
  const auto index = file.array<std::int32_t>("/a/index", 3);
  CHECK(std::vector<std::int32_t>(index.begin(), index.end()) == std::vector<std::int32_t>{3, -1, 4});
  CHECK(reinterpret_cast<std::uintptr_t>(index.data()) % 64 == 0);
  CHECK(file.array<double>("/a/empty").empty());
  CHECK(file.strings("/a/names") == std::vector<std::string>{"x", "", "Köln"});
  CHECK(file.strings("/a/none").empty());
  CHECK(file.text("/note") == "two\nlines");
  CHECK(file.children("/a") == std::vector<std::string>{"b", "empty", "index", "names", "none"});
  CHECK(file.children("/nowhere").empty());
  CHECK(file.is_group("/hollow"));
  CHECK_FALSE(file.is_group("/a/index"));
  CHECK(file.int_attribute("/", "version") == 1);
  CHECK(file.text_attribute("/a", "unit") == "ln_ic50_um");
  CHECK(file.text_attribute("/a", "nothing").empty());
  CHECK_FALSE(file.has_attribute("/a", "absent"));
}

TEST_CASE("The mapping outlives the file object") {
  const TemporaryFolder folder;
  write_sample_file(folder.path() / "x.h5");
  std::shared_ptr<const void> storage;
  const float* data = nullptr;
  {
    const Hdf5File file(folder.path() / "x.h5");
    storage = file.storage();
    data = file.matrix<float>("/a/b/matrix").data;
  }
  CHECK(data[90] == 90.5F);
}

TEST_CASE("The same calls give the same bytes") {
  const TemporaryFolder folder;
  write_sample_file(folder.path() / "1.h5");
  ::sleep(1);  // time stamps in HDF5 count seconds
  write_sample_file(folder.path() / "2.h5");
  CHECK(cdrzoo::sha256_file_hex(folder.path() / "1.h5") == cdrzoo::sha256_file_hex(folder.path() / "2.h5"));
}

TEST_CASE("Rows that come in pieces fill the data set, and a hole is noticed") {
  const TemporaryFolder folder;
  const auto values = ramp(12);
  Hdf5Writer writer(folder.path() / "x.h5");
  auto rows = writer.create("/m", Hdf5Type::f32, {3, 4});
  rows.append(values.data(), 16);
  CHECK_THROWS_AS(writer.commit(), std::logic_error);
  rows.append(values.data() + 4, 32);
  writer.commit();
  CHECK(Hdf5File(folder.path() / "x.h5").matrix<float>("/m").row(2)[3] == 11.5F);
}

TEST_CASE("A writer that is not committed leaves nothing behind") {
  const TemporaryFolder folder;
  {
    Hdf5Writer writer(folder.path() / "x.h5");
    writer.write("/v", ramp(1000));
  }
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("Chunked, compressed data and variable-length text of other writers are read into memory") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.h5";
  const auto values = ramp(600);
  {
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t extent[2] = {20, 30};
    const hsize_t chunk[2] = {7, 11};
    const hid_t space = H5Screate_simple(2, extent, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 2, chunk);
    H5Pset_deflate(properties, 6);
    const hid_t data = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    const hsize_t two = 2;
    const hid_t row = H5Screate_simple(1, &two, nullptr);
    const char* words[2] = {"first", "second one"};
    const hid_t names = H5Dcreate2(file, "names", text, row, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(names, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, words);
    H5Lcreate_external("/etc/passwd", "/x", file, "outside", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
    for (const hid_t id : {data, names}) H5Dclose(id);
    for (const hid_t id : {space, row}) H5Sclose(id);
    H5Tclose(text);
    H5Pclose(properties);
    H5Fclose(file);
  }
  const Hdf5File file(path);
  const auto block = file.block("/x");
  CHECK_FALSE(block.mapped);
  CHECK(reinterpret_cast<std::uintptr_t>(block.data) % 64 == 0);
  CHECK(std::equal(values.begin(), values.end(), static_cast<const float*>(block.data)));
  CHECK(file.strings("/names") == std::vector<std::string>{"first", "second one"});
  CHECK_THROWS_WITH(file.block("/outside"), contains("soft or external link"));
  CHECK_THROWS_WITH(file.block("/soft"), contains("soft or external link"));
}

TEST_CASE("Numbers of foreign files are read in pieces, as another type if that loses nothing but digits") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.h5";
  {
    ForeignHdf5 f(path);
    f.numbers<std::int64_t>("/integers", {-1, 2, 3, 4, 5, 1 << 24, 70000}, {}, {H5T_STD_I32BE, {3}, true});
    f.numbers<double>("/decimals", {0.5, -1.5, 1e300, 3, 4, 5}, {3, 2});
    f.booleans("/flags", {1, 0, 1});
    f.strings("/names", {"a"});
    f.hollow("/strange", H5T_NATIVE_B16, {2}, {});
    f.numbers<float>("/single", {1}, {1});
    f.numbers("/large", std::vector<float>(300 * 1000), {300, 1000}, {-1, {7, 10}, true});
    f.numbers("/wide", std::vector<float>(10 * 1000), {10, 1000}, {-1, {5, 500}, true});
  }
  const Hdf5File file(path);
  const auto integers = file.numbers("/integers");
  CHECK(integers.elements() == Hdf5File::Elements::integer);
  CHECK_FALSE(integers.is_unsigned());
  CHECK(integers.element_bytes() == 4);
  std::vector<std::int64_t> some(4);
  integers.read(3, 4, some.data());
  CHECK(some == std::vector<std::int64_t>{4, 5, 1 << 24, 70000});
  std::vector<float> same(4);
  integers.read(3, 4, same.data());
  CHECK(same == std::vector<float>{4, 5, 1 << 24, 70000});
  CHECK_THROWS_AS(integers.read(4, 4, some.data()), std::logic_error);

  const auto decimals = file.numbers("/decimals");
  CHECK(decimals.elements() == Hdf5File::Elements::real);
  std::vector<double> row(2);
  decimals.read(1, 1, row.data());
  CHECK(row == std::vector<double>{1e300, 3});
  decimals.read(1, 1, same.data());
  CHECK(std::isinf(same[0]));
  CHECK_THROWS_WITH(decimals.read(0, 1, some.data()), contains("holds numbers with decimals; expected integers"));

  CHECK(file.outline("/flags").elements == Hdf5File::Elements::boolean);
  CHECK(file.outline("/names").elements == Hdf5File::Elements::text);
  CHECK(file.outline("/strange").elements == Hdf5File::Elements::other);
  std::vector<std::int64_t> flags(3);
  file.numbers("/flags").read(0, 3, flags.data());
  CHECK(flags == std::vector<std::int64_t>{1, 0, 1});
  CHECK_THROWS_WITH(file.numbers("/names"), contains("holds text; expected numbers"));
  CHECK_THROWS_WITH(file.numbers("/strange"), contains("holds elements of a strange type; expected numbers"));

  // 16 MiB are 4194 rows of 1000 floats: whole chunks of 7 rows.
  CHECK(file.numbers("/large").rows_at_once(sizeof(float)) == 4193);
  CHECK(file.numbers("/wide").rows_at_once(std::uint64_t{100} << 20U) == 1);  // 100 GB in a row
}

TEST_CASE("Attributes may be lists, and may refer to an object") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.h5";
  {
    ForeignHdf5 f(path);
    f.group("/g");
    f.numbers<float>("/data", {1, 2});
    f.attribute("/g", "names", std::vector<std::string>{"a", "", "Köln"});
    f.attribute("/g", "fixed", std::vector<std::string>{"abc", "d"}, H5T_STR_NULLPAD);
    f.attribute("/g", "none", std::vector<double>{});
    f.attribute("/g", "shape", std::vector<std::int32_t>{3, 4});
    f.reference("/g", "to", "/data");
  }
  const Hdf5File file(path);
  CHECK(file.text_list_attribute("/g", "names") == std::vector<std::string>{"a", "", "Köln"});
  CHECK(file.text_list_attribute("/g", "fixed") == std::vector<std::string>{"abc", "d"});
  CHECK(file.text_list_attribute("/g", "none").empty());
  CHECK(file.int_list_attribute("/g", "none").empty());
  CHECK(file.int_list_attribute("/g", "shape") == std::vector<std::int64_t>{3, 4});
  CHECK(file.reference_attribute("/g", "to") == "/data");
  CHECK_THROWS_WITH(file.int_attribute("/g", "shape"), contains("'shape' that is not a single value"));
  CHECK_THROWS_WITH(file.text_attribute("/g", "names"), contains("'names' that is not a single value"));
  CHECK_THROWS_WITH(file.text_list_attribute("/g", "shape"), contains("'shape' that is not text"));
  CHECK_THROWS_WITH(file.int_list_attribute("/g", "names"), contains("'names' that is not an integer"));
  CHECK_THROWS_WITH(file.reference_attribute("/g", "shape"), contains("'shape' that is not a reference to an object"));
}

TEST_CASE("What a chunked data set declares is measured by what is stored of it") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "other.h5";
  {
    ForeignHdf5 f(path);
    f.numbers("/zeros", std::vector<float>(1 << 20), {}, {-1, {1 << 18}, true});  // deflate makes it 1000 times smaller
    f.hollow("/never", H5T_NATIVE_FLOAT, {1 << 20}, {-1, {1 << 18}, true});
  }
  const Hdf5File file(path);
  CHECK(file.array<float>("/zeros").size() == 1 << 20);
  CHECK_THROWS_WITH(file.block("/never"), contains("declares 4194304 bytes, but the file holds only 0 compressed"));
}

TEST_CASE("Wrong files are refused with one sentence") {
  const TemporaryFolder folder;
  const auto good = folder.path() / "good.h5";
  write_sample_file(good);
  const auto whole = std::filesystem::file_size(good);

  CHECK_THROWS_WITH(Hdf5File(folder.path() / "absent.h5"), contains("absent.h5: No such file"));
  CHECK_THROWS_WITH(Hdf5File(folder.path()), contains("it is a folder"));
  std::ofstream(folder.path() / "empty.h5").close();
  CHECK_THROWS_WITH(Hdf5File(folder.path() / "empty.h5"), contains("is empty"));
  std::ofstream(folder.path() / "text.h5") << "sample,drug\n1,2\n";
  CHECK_THROWS_WITH(Hdf5File(folder.path() / "text.h5"), contains("is not an HDF5 file"));

  for (const auto size : {std::uintmax_t{9}, std::uintmax_t{60}, whole / 2, whole - 1}) {
    std::filesystem::copy_file(good, folder.path() / "cut.h5", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder.path() / "cut.h5", size);
    CHECK_THROWS_WITH(Hdf5File(folder.path() / "cut.h5"), contains("truncated or damaged"));
  }

  const Hdf5File file(good);
  CHECK_THROWS_WITH(file.block("/nothing"), contains("/nothing is missing"));
  CHECK_THROWS_WITH(file.array<float>("/a/index"), contains("holds int32; expected float32"));
  CHECK_THROWS_WITH(file.array<std::int32_t>("/a/index", 4), contains("has shape [3]; expected [4]"));
  CHECK_THROWS_WITH((file.matrix<float>("/a/b/matrix", 7, 12)), contains("has shape [7, 13]; expected [7, 12]"));
  CHECK_THROWS_WITH(file.strings("/a/index"), contains("holds numbers; expected text"));
  CHECK_THROWS_WITH(file.block("/a"), contains("is a group; expected a data set"));
  CHECK_THROWS_WITH(file.text_attribute("/a", "absent"), contains("lacks the attribute 'absent'"));
}

TEST_CASE("A file size limit in the middle of writing is an error, not the end of the process") {
  // In a child, because the limit cannot be raised again.
  const TemporaryFolder folder;
  const std::uint64_t limit = GENERATE(as<std::uint64_t>{}, 100U, 3000U, 100000U);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit value{limit, limit};
    ::setrlimit(RLIMIT_FSIZE, &value);
    int code = 1;
    try {
      Hdf5Writer writer(folder.path() / "x.h5");
      for (int i = 0; i < 50; ++i) writer.write("/v" + std::to_string(i), ramp(5000));
      writer.commit();
    } catch (const cdrzoo::IoError& e) {
      code = std::string(e.what()).find("cannot write") != std::string::npos ? 0 : 2;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("A folder that cannot be written is an error that names the target") {
  CHECK_THROWS_WITH(Hdf5Writer("/proc/none/x.h5"), contains("cannot write /proc/none/x.h5"));
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(Hdf5Writer(folder.path()), contains("it is a folder"));
}

TEST_CASE("Clean text is UTF-8 without control characters") {
  CHECK(cdrzoo::is_clean_text(""));
  CHECK(cdrzoo::is_clean_text("5-Fluorouracil Köln \xE2\x82\xAC \xF0\x9F\x8D\x8E"));
  CHECK_FALSE(cdrzoo::is_clean_text("a\tb"));
  CHECK_FALSE(cdrzoo::is_clean_text(std::string("a\0b", 3)));
  CHECK_FALSE(cdrzoo::is_clean_text("\xC0\xAF"));          // overlong
  CHECK_FALSE(cdrzoo::is_clean_text("\xED\xA0\x80"));      // surrogate
  CHECK_FALSE(cdrzoo::is_clean_text("\xF4\x90\x80\x80"));  // beyond U+10FFFF
  CHECK_FALSE(cdrzoo::is_clean_text("\xE2\x82"));          // cut
}
