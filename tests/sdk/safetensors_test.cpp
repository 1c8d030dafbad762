// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/safetensors.hpp>

#include <cdrzoo/random.h>

#include <fstream>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace st = cdrzoo::safetensors;
using cdrzoo::test::contains;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  const std::uint64_t n = header.size();
  std::memcpy(out.data(), &n, 8);
  return out + header + data;
}

st::Archive parse(const std::string& bytes) { return st::Archive::parse(bytes.data(), bytes.size(), "test"); }

/// The error text of bytes that must be refused.
std::string refusal(const std::string& bytes) {
  try {
    (void)parse(bytes);
  } catch (const st::Error& e) {
    return e.what();
  }
  return "accepted";
}

std::string one(const std::string& fields, const std::string& data = std::string(24, 'x')) {
  return file_of("{\"a\":{" + fields + "}}", data);
}

st::Writer sample() {
  st::Writer writer;
  writer.add<std::uint8_t>("bits", {3}, {1, 0, 1});
  writer.add<float>("layer.weight", {2, 3}, {1, 2, 3, 4, 5, 6});
  writer.add<double>("scale", {}, {2.5});
  writer.add<std::int64_t>("empty", {0, 7}, {});
  writer.add<std::int32_t>("codes", {2}, {-1, 4});
  const std::uint16_t halves[] = {0x3c00, 0x4000};
  writer.add("half", "F16", {2}, halves, sizeof halves);
  writer.add("brain", "BF16", {1, 2}, halves, sizeof halves);
  const std::uint8_t truth[] = {1};
  writer.add("flag", "BOOL", {1}, truth, 1);
  writer.add<std::uint64_t>("key", {1}, {~std::uint64_t{0}});
  writer.metadata("revision", "1");
  writer.metadata("note", "quotes \" and \xc3\xa9");
  return writer;
}

}  // namespace

TEST_CASE("what is written is read back, in order and with the same bytes", "[safetensors]") {
  const std::string bytes = sample().bytes();
  const st::Archive archive = parse(bytes);
  std::vector<std::string> names;
  for (const auto& tensor : archive.tensors()) names.push_back(tensor.name);
  CHECK(names ==
        std::vector<std::string>{"bits", "layer.weight", "scale", "empty", "codes", "half", "brain", "flag", "key"});
  CHECK(archive.at("layer.weight").copy<float>() == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(archive.at("layer.weight").shape == std::vector<std::int64_t>{2, 3});
  CHECK(archive.at("scale").shape.empty());
  CHECK(archive.at("scale").copy<double>() == std::vector<double>{2.5});
  CHECK(archive.at("empty").bytes == 0);
  CHECK(archive.at("empty").shape == std::vector<std::int64_t>{0, 7});
  CHECK(archive.at("codes").copy<std::int32_t>() == std::vector<std::int32_t>{-1, 4});
  CHECK(archive.at("key").copy<std::uint64_t>() == std::vector<std::uint64_t>{~std::uint64_t{0}});
  CHECK(archive.at("half").dtype == "F16");
  CHECK(archive.at("brain").count() == 2);
  CHECK(archive.text("note") == "quotes \" and \xc3\xa9");
  CHECK(archive.metadata().size() == 2);
}

TEST_CASE("the written form is padded, aligned and a function of what was added", "[safetensors]") {
  const std::string bytes = sample().bytes();
  CHECK(bytes == sample().bytes());
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  // operator new aligns to 16, so alignment in the buffer is alignment in the file.
  const st::Archive archive = parse(bytes);
  for (const auto& tensor : archive.tensors()) {
    CAPTURE(tensor.name);
    CHECK(tensor.is_aligned());
  }
  const std::string sorted = sample().bytes(st::Order::by_name);
  CHECK(sorted.size() == bytes.size());
  CHECK(parse(sorted).tensors().front().name == "bits");
  CHECK(parse(sorted).tensors().back().name == "scale");
  CHECK(parse(st::Writer().bytes()).tensors().empty());
}

TEST_CASE("wrong dtypes and absent names are errors that name both", "[safetensors]") {
  const std::string bytes = sample().bytes();
  const st::Archive archive = parse(bytes);
  CHECK_THROWS_WITH(archive.at("bits").copy<float>(), contains("is U8, but F32 was expected"));
  CHECK_THROWS_WITH(archive.at("absent"), contains("test: there is no tensor \"absent\""));
  CHECK_THROWS_WITH(archive.text("absent"), contains("no metadata key \"absent\""));
  CHECK(archive.find("absent") == nullptr);
}

TEST_CASE("the writer refuses what it could not write soundly", "[safetensors]") {
  st::Writer writer;
  writer.add<float>("a", {1}, {1});
  CHECK_THROWS_WITH(writer.add<float>("a", {1}, {1}), contains("twice"));
  CHECK_THROWS_WITH(writer.add<float>("b", {2}, {1}), contains("does not fit"));
  CHECK_THROWS_WITH(writer.add<float>("b", {-1}, {}), contains("does not fit"));
  CHECK_THROWS_WITH(writer.add("b", "F7", {1}, "x", 1), contains("unknown dtype"));
  CHECK_THROWS_WITH(writer.add<float>("__metadata__", {1}, {1}), contains("__metadata__"));
  writer.metadata("k", "1");
  CHECK_THROWS_WITH(writer.metadata("k", "2"), contains("twice"));
  writer.metadata("bad", "\xff");
  CHECK_THROWS_WITH(writer.bytes(), contains("UTF-8"));
}

TEST_CASE("each form of damage is refused with its reason", "[safetensors]") {
  const std::string sound = R"("dtype":"F32","shape":[2,3],"data_offsets":[0,24])";
  REQUIRE(refusal(one(sound)) == "accepted");
  CHECK_THAT(refusal(""), contains("0 bytes"));
  CHECK_THAT(refusal("1234567"), contains("7 bytes"));
  CHECK_THAT(refusal(std::string(8, '\xff') + "{}"), contains("at most 100000000"));
  CHECK_THAT(refusal(file_of("{}", "").substr(0, 9)), contains("truncated"));
  CHECK_THAT(refusal(file_of("", "")), contains("no JSON object"));
  CHECK_THAT(refusal(file_of("[]", "")), contains("no JSON object"));
  CHECK_THAT(refusal(file_of(" {}", "")), contains("no JSON object"));
  CHECK_THAT(refusal(file_of("{", "")), contains("no valid JSON"));
  CHECK_THAT(refusal(file_of("{}{}", "")), contains("no valid JSON"));
  CHECK_THAT(refusal(file_of(std::string("{}\0x", 4), "")), contains("no JSON object"));
  CHECK_THAT(refusal(file_of("{\"a\":1}", "")), contains("an object was expected"));
  CHECK_THAT(refusal(file_of("{\"a\":[]}", "")), contains("an object was expected"));
  CHECK_THAT(refusal(file_of("{\"__metadata__\":{\"a\":1}}", "")), contains("a string was expected"));
  CHECK_THAT(refusal(file_of("{\"__metadata__\":{\"a\":{}}}", "")), contains("a string was expected"));
  CHECK_THAT(refusal(file_of("{\"__metadata__\":{},\"__metadata__\":{}}", "")), contains("twice"));
  CHECK_THAT(refusal(file_of("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", "")), contains("twice"));
  CHECK_THAT(
      refusal(file_of("{\"a\":{" + sound + "},\"a\":{" + R"("dtype":"F32","shape":[0],"data_offsets":[24,24])" + "}}",
                      std::string(24, 'x'))),
      contains("twice"));
  CHECK_THAT(refusal(one(R"("shape":[6],"data_offsets":[0,24])")), contains("lacks one of"));
  CHECK_THAT(refusal(one(sound + R"(,"dtype":"F32")")), contains("dtype twice"));
  CHECK_THAT(refusal(one(sound + R"(,"extra":1)")), contains("unknown key \"extra\""));
  CHECK_THAT(refusal(one(R"("dtype":"F33","shape":[6],"data_offsets":[0,24])")), contains("unknown dtype \"F33\""));
  CHECK_THAT(refusal(one(R"("dtype":1,"shape":[6],"data_offsets":[0,24])")), contains("wrong place"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":"6","data_offsets":[0,24])")), contains("wrong place"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[[6]],"data_offsets":[0,24])")), contains("wrong place"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[-6],"data_offsets":[0,24])")), contains("negative"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6.0],"data_offsets":[0,24])")), contains("the number 6.0"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,24])")),
             contains("63 bits"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,24])")),
             contains("overflows"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,24])")),
             contains("overflows"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6],"data_offsets":[0])")), contains("two data_offsets"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6],"data_offsets":[0,24,24])")), contains("two data_offsets"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6],"data_offsets":[24,0])")), contains("lies at bytes"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6],"data_offsets":[0,25])")), contains("24 bytes of data"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[6],"data_offsets":[0,18446744073709551615])")),
             contains("24 bytes of data"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[5],"data_offsets":[0,24])")), contains("needs 20"));
  CHECK_THAT(refusal(one(R"("dtype":"F32","shape":[5],"data_offsets":[4,24])")), contains("overlap or leave holes"));
  CHECK_THAT(refusal(one(sound, std::string(25, 'x'))), contains("end at byte 24"));
  CHECK_THAT(refusal(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                             R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                             "xxx")),
             contains("overlap or leave holes"));
  std::string axes = "1";
  for (int i = 0; i < 40; ++i) axes += ",1";
  CHECK_THAT(refusal(one("\"dtype\":\"F32\",\"shape\":[" + axes + "],\"data_offsets\":[0,4]")),
             contains("more than 32"));
  CHECK_THAT(refusal(file_of(std::string(100000, '['), "")), contains("no JSON object"));
  CHECK_THAT(refusal(file_of("{\"a\":{\"shape\":" + std::string(100000, '['), "")), contains("wrong place"));
}

TEST_CASE("no truncation is accepted, and none crashes", "[safetensors]") {
  const std::string bytes = sample().bytes();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    // A copy of exactly n bytes, so that a sanitizer sees a read beyond them.
    const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    CAPTURE(n);
    CHECK_THROWS_AS(st::Archive::parse(cut.data(), n, "cut"), st::Error);
  }
}

TEST_CASE("flipped bits give an error or a sound table, never a crash", "[safetensors]") {
  const std::string bytes = sample().bytes();
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  int refused = 0, accepted = 0;
  for (std::size_t bit = 0; bit < (8 + header) * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(static_cast<unsigned char>(damaged[bit / 8]) ^ (1U << (bit % 8)));
    try {
      const st::Archive archive = parse(damaged);
      std::uint64_t covered = 0;
      for (const auto& tensor : archive.tensors()) {
        const auto begin =
            static_cast<std::size_t>(tensor.data - reinterpret_cast<const std::uint8_t*>(damaged.data()));
        REQUIRE(begin + tensor.bytes <= damaged.size());
        covered += tensor.bytes;
      }
      REQUIRE(covered + 8 + header == damaged.size());
      ++accepted;  // a letter of a name or of a text, or an equal size under another dtype
    } catch (const st::Error&) {
      ++refused;
    }
  }
  CHECK(refused > accepted);
}

TEST_CASE("random bytes behind a plausible header length are refused", "[safetensors]") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::string bytes(200, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(cdrzoo_random_u64(seed, 0, i));
    const std::uint64_t n = seed % 192;
    std::memcpy(bytes.data(), &n, 8);
    if (n > 0) bytes[8] = '{';
    CHECK_THROWS_AS(parse(bytes), st::Error);
  }
}

TEST_CASE("files are written whole and mapped", "[safetensors]") {
  const cdrzoo::test::TemporaryFolder folder;
  const auto path = folder.path() / "with space.safetensors";
  sample().write(path);
  std::vector<float> weight;
  {
    st::Archive copy;
    {
      const st::Archive archive = st::Archive::open(path);
      copy = archive;  // shares the mapping
    }
    weight = copy.at("layer.weight").copy<float>();
    CHECK(copy.at("layer.weight").as<float>()[5] == 6.0F);
  }
  CHECK(weight == std::vector<float>{1, 2, 3, 4, 5, 6});
  int n_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++n_files;
  CHECK(n_files == 1);

  CHECK_THROWS_WITH(st::Archive::open(folder.path() / "none"), contains("none: cannot be opened: No such file"));
  CHECK_THROWS_WITH(st::Archive::open(folder.path()), contains("is no regular file"));
  CHECK_THROWS_WITH(sample().write(folder.path() / "no" / "folder"), contains("cannot be written: No such file"));
  std::ofstream(folder.path() / "short") << "abc";
  CHECK_THROWS_WITH(st::Archive::open(folder.path() / "short"), contains("short: no safetensors file: it has 3 bytes"));
  if (std::filesystem::exists("/dev/full")) {
    CHECK_THROWS_WITH(sample().write("/dev/full/x"), contains("cannot be written"));
  }
}
