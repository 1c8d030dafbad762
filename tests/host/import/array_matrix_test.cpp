// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/safetensors.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "import/matrix_source.hpp"
#include "read_all.hpp"
#include "support/catch.hpp"

using cdrzoo::MatrixSource;
using cdrzoo::MatrixSpec;
using cdrzoo::open_matrix;
using cdrzoo::test::contains;
using cdrzoo::test::read_lines;
using cdrzoo::test::refusal;
using cdrzoo::test::TextFile;
using Names = std::vector<std::string>;
using Values = std::vector<std::vector<float>>;

namespace {

/// A .npy file of version 1 as numpy writes it.
std::string npy(const std::string& type, const std::string& shape, const std::string& data, bool fortran = false,
                int version = 1) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }";
  const std::size_t before = version == 1 ? 10 : 12;
  header.append(63 - (before + header.size()) % 64, ' ');
  header += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  for (std::size_t i = 0; i < before - 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return out + header + data;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values, bool big_endian = false) {
  std::string out(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  if (big_endian) {
    for (std::size_t i = 0; i < out.size(); i += sizeof(T))
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(i),
                   out.begin() + static_cast<std::ptrdiff_t>(i + sizeof(T)));
  }
  return out;
}

/// A file beside the names of two samples and three genes.
class Arrays {
 public:
  explicit Arrays(const std::string& bytes, const std::string& name = "x.npy")
      : file_(name, bytes), samples_("samples.txt", "s 1\n2\n"), genes_("genes.txt", "TP53\n\"EGFR\"\nTP53\n\n") {}
  [[nodiscard]] MatrixSpec spec() const {
    MatrixSpec spec = file_.spec();
    spec.sample_list = samples_.path();
    spec.gene_list = genes_.path();
    return spec;
  }
  [[nodiscard]] Values values() const { return read_lines(*open_matrix(spec())).values; }

 private:
  TextFile file_;
  TextFile samples_;
  TextFile genes_;
};

const Values kExpected = {{1, 2, 3}, {4, 5, 6}};

template <typename T>
std::vector<T> one_to_six() {
  return {1, 2, 3, 4, 5, 6};
}

}  // namespace

TEST_CASE("A numpy array reads line by line under the names of two lists") {
  const Arrays arrays(npy("<f4", "(2, 3)", bytes_of<float>({1, 2, NAN, 4, -5, 6e-3F})));
  const auto source = open_matrix(arrays.spec());
  CHECK(source->lines() == MatrixSource::Lines::samples);
  CHECK(source->samples() == Names{"s 1", "2"});
  CHECK(source->genes() == Names{"TP53", "EGFR", "TP53"});
  const auto lines = read_lines(*source);
  CHECK(lines.values[0][1] == 2.0F);
  CHECK(std::isnan(lines.values[0][2]));
  CHECK(lines.values[1] == std::vector<float>{4, -5, 6e-3F});
  CHECK_THAT(source->place_of_gene(1), contains("x.npy column 2"));
  CHECK_THAT(source->place_of_sample(1), contains("x.npy row 2"));
}

TEST_CASE("Every number type, byte order and version of a numpy array gives the same matrix") {
  const auto values = [](const std::string& type, const std::string& data, int version = 1) {
    return Arrays(npy(type, "(2, 3)", data, false, version)).values();
  };
  CHECK(values("<f4", bytes_of(one_to_six<float>()), 2) == kExpected);
  CHECK(values("<f8", bytes_of(one_to_six<double>()), 3) == kExpected);
  CHECK(values(">f4", bytes_of(one_to_six<float>(), true)) == kExpected);
  CHECK(values(">f8", bytes_of(one_to_six<double>(), true)) == kExpected);
  CHECK(values("|i1", bytes_of(one_to_six<std::int8_t>())) == kExpected);
  CHECK(values("|u1", bytes_of(one_to_six<std::uint8_t>())) == kExpected);
  CHECK(values("<i2", bytes_of(one_to_six<std::int16_t>())) == kExpected);
  CHECK(values(">u2", bytes_of(one_to_six<std::uint16_t>(), true)) == kExpected);
  CHECK(values("<i4", bytes_of(one_to_six<std::int32_t>())) == kExpected);
  CHECK(values("<u4", bytes_of(one_to_six<std::uint32_t>())) == kExpected);
  CHECK(values(">i8", bytes_of(one_to_six<std::int64_t>(), true)) == kExpected);
  CHECK(values("<u8", bytes_of(one_to_six<std::uint64_t>())) == kExpected);
  CHECK(values("<i2", bytes_of<std::int16_t>({-1, 0, 1, -32768, 0, 0}))[1][0] == -32768.0F);
  CHECK(values("|b1", std::string("\1\0\1\0\0\1", 6)) == Values{{1, 0, 1}, {0, 0, 1}});
}

TEST_CASE("Fortran order is read along the other axis, and samples may be the columns") {
  const std::string by_column = bytes_of<float>({1, 4, 2, 5, 3, 6});
  const Arrays fortran(npy("<f4", "(2, 3)", by_column, true));
  auto source = open_matrix(fortran.spec());
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(read_lines(*source).values == Values{{1, 4}, {2, 5}, {3, 6}});

  const Arrays transposed(npy("<f4", "(3, 2)", by_column));
  MatrixSpec spec = transposed.spec();
  spec.samples_are = "columns";
  source = open_matrix(spec);
  CHECK(source->lines() == MatrixSource::Lines::genes);
  CHECK(read_lines(*source).values == Values{{1, 4}, {2, 5}, {3, 6}});
  CHECK_THAT(refusal(transposed.spec()), contains("samples.txt has 2 names; ") && contains("x.npy has 3 rows"));
}

TEST_CASE("A malformed numpy array is refused in one sentence, whatever it declares") {
  const auto refused = [](const std::string& bytes) { return refusal(Arrays(bytes).spec()); };
  const std::string data = bytes_of(one_to_six<float>());
  const std::string good = npy("<f4", "(2, 3)", data);
  CHECK(refused(good) == "accepted");
  CHECK_THAT(refused(""), contains("x.npy is no .npy file"));
  CHECK_THAT(refused("PK\3\4 a zip archive"), contains("x.npy is no .npy file"));
  CHECK_THAT(refused(npy("<f4", "(2, 3)", data, false, 4)), contains("of version 4; expected 1, 2 or 3"));
  CHECK_THAT(refused(good.substr(0, 20)), contains("x.npy is truncated"));
  CHECK_THAT(refused(good.substr(0, good.size() - 1)), contains("declares 2 x 3 numbers of 4 bytes, but has 23 bytes"));
  CHECK_THAT(refused(good + "x"), contains("but has 25 bytes of data"));
  CHECK_THAT(refused(npy("<f4", "(4000000000000, 3000000000000)", data)), contains("declares 4000000000000 x"));
  CHECK_THAT(refused(npy("<f4", "(99999999999999999999, 3)", data)), contains("has a damaged header"));
  CHECK_THAT(refused(npy("<f4", "(-2, 3)", data)), contains("has a damaged header"));
  CHECK_THAT(refused(npy("<f4", "(6,)", data)), contains("is an array of rank 1; expected a matrix"));
  CHECK_THAT(refused(npy("<f4", "(0, 3)", "")), contains("x.npy has no values: its shape is 0 x 3"));
  for (const char* type : {"<f2", "<c8", "|S4", "<U4", "|O", "<f16", "=f4", "|f4", "", "<i3"})
    CHECK_THAT(refused(npy(type, "(2, 3)", data)), contains("x.npy holds numbers of the type '"));
  CHECK_THAT(refused(npy("<f4", "(2, 3), 'shape': (2, 3)", data)), contains("has a damaged header"));
  CHECK_THAT(refused(npy("<f4', 'x': '1", "(2, 3)", data)), contains("has a damaged header"));
  std::string huge = npy("<f4", "(2, 3)", data, false, 2);
  huge.replace(8, 4, "\xFF\xFF\xFF\x7F");
  CHECK_THAT(refused(huge), contains("claims a header of 2147483647 bytes"));
  CHECK_THAT(refused(npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, INFINITY, 6}))),
             contains("x.npy row 2 column 2: the value is infinite or too large"));
  CHECK_THAT(refused(npy("<f8", "(2, 3)", bytes_of<double>({1, 2, 3, 4, 5, -1e39}), true)),
             contains("x.npy row 2 column 3: the value is infinite or too large"));
}

TEST_CASE("Lists of names are checked like any file") {
  const Arrays arrays(npy("<f4", "(2, 3)", bytes_of(one_to_six<float>())));
  const auto with_genes = [&](const std::string& text) {
    const TextFile genes("g.txt", text);
    MatrixSpec spec = arrays.spec();
    spec.gene_list = genes.path();
    return refusal(spec);
  };
  CHECK_THAT(with_genes("a\nb\n"), contains("g.txt has 2 names; ") && contains("x.npy has 3 columns"));
  CHECK_THAT(with_genes("a\n\nc\n"), contains("g.txt line 2: is empty, but rows follow"));
  CHECK_THAT(with_genes("a\nb\x01\nc\n"), contains("g.txt line 2: the name 'b?' is not clean UTF-8 text"));
  CHECK(with_genes("a,1\nb c\nd;e") == "accepted");
  MatrixSpec spec = arrays.spec();
  spec.sample_list.clear();
  CHECK_THAT(refusal(spec), contains("files of the format npy hold no names"));
  spec.sample_list = "/nowhere/s.txt";
  CHECK_THAT(refusal(spec), contains("cannot read /nowhere/s.txt"));
  spec = arrays.spec();
  spec.file = "x.npy.gz";
  CHECK_THAT(refusal(spec), contains("files of the format npy are read unpacked only; use gunzip first"));
  cdrzoo::TableSpec table;
  table.file = arrays.spec().file;
  CHECK_THROWS_WITH(cdrzoo::open_table(table), contains("files of the format npy hold no table"));
}

TEST_CASE("A tensor of a safetensors file is a matrix, chosen by name where there are several") {
  cdrzoo::safetensors::Writer writer;
  writer.add("expression", {2, 3}, one_to_six<double>());
  writer.add("mutated", {2, 3}, one_to_six<std::uint8_t>());
  writer.add("line", {6}, one_to_six<float>());
  const std::uint16_t half[6] = {};
  writer.add("half", "F16", {2, 3}, half, sizeof half);
  const Arrays several(writer.bytes(), "x.safetensors");
  MatrixSpec spec = several.spec();
  for (const char* name : {"expression", "mutated"}) {
    spec.layer = name;
    const auto source = open_matrix(spec);
    CHECK(source->lines() == MatrixSource::Lines::samples);
    CHECK(read_lines(*source).values == kExpected);
  }
  spec.layer.clear();
  CHECK_THAT(refusal(spec),
             contains("has several tensors; name one as layer: 'expression', 'mutated', 'line', 'half'"));
  spec.layer = "X";
  CHECK_THAT(refusal(spec), contains("has no tensor 'X'; it has 'expression'"));
  spec.layer = "line";
  CHECK_THAT(refusal(spec), contains("tensor 'line' has rank 1; expected a matrix"));
  spec.layer = "half";
  CHECK_THAT(refusal(spec), contains("tensor 'half' holds numbers of the type F16; expected F32"));

  cdrzoo::safetensors::Writer single;
  single.add("X", {2, 3}, std::vector<float>{1, 2, 3, 4, INFINITY, 6});
  CHECK_THAT(refusal(Arrays(single.bytes(), "x.safetensors").spec()), contains("x.safetensors row 2 column 2"));
  CHECK_THAT(refusal(Arrays("{}", "x.safetensors").spec()), contains("x.safetensors: no safetensors file"));
  CHECK_THAT(refusal(Arrays(single.bytes().substr(0, 40), "x.safetensors").spec()),
             contains("x.safetensors: truncated"));
  spec.file = "/nowhere/x.safetensors";
  CHECK_THAT(refusal(spec), contains("cannot read /nowhere/x.safetensors"));
}
