// SPDX-License-Identifier: Apache-2.0
#include "abi/layout.hpp"

#include <cdrzoo/plugin.h>

#include <fstream>
#include <regex>

#include "support/catch.hpp"

using namespace cdrzoo::test;

namespace {

std::string read(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// A header with one space where it aligns comments, and "T* x" for "T *x": so that the mutations below find their
/// place whatever the formatter does.
std::string header(const std::string& name) {
  std::string text = read(CDRZOO_SDK_INCLUDE_DIR "/cdrzoo/" + name);
  text = std::regex_replace(text, std::regex("([a-z_]) \\*([a-z])"), "$1* $2");
  return std::regex_replace(text, std::regex("; +/"), "; /");
}

const std::string kAbi = header("abi.h");        // NOLINT(cert-err58-cpp)
const std::string kPlugin = header("plugin.h");  // NOLINT(cert-err58-cpp)

Layout lock() { return from_text(read(CDRZOO_ABI_TEST_DIR "/layout.lock")); }

/// The headers with one text in place of another, which must occur.
Layout mutated(const std::string& from, const std::string& to) {
  std::string abi = kAbi, plugin = kPlugin;
  std::string& text = abi.find(from) != std::string::npos ? abi : plugin;
  const std::size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("the headers do not hold \"" + from + "\"");
  text.replace(at, from.size(), to);
  return layout_of({abi, plugin});
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out += line + "\n";
  return out;
}

std::string broken(const std::string& from, const std::string& to) {
  try {
    return joined(compare(lock(), mutated(from, to)).breaks);
  } catch (const LayoutError& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("the headers are what the lock says", "[abi]") {
  const LayoutChange change = compare(lock(), layout_of({kAbi, kPlugin}));
  CHECK(joined(change.breaks).empty());
  // An allowed growth: raise CDRZOO_ABI_MINOR and build the target update_layout_lock.
  CHECK(joined(change.growths).empty());
  CHECK(lock().constants.at("CDRZOO_ABI_MINOR") == std::to_string(CDRZOO_ABI_MINOR));
}

TEST_CASE("the lock survives its own text", "[abi]") {
  const Layout now = layout_of({kAbi, kPlugin});
  CHECK(to_text(from_text(to_text(now))) == to_text(now));
  CHECK(now.structs.size() >= 22);
  CHECK(now.constants.at("CDRZOO_E_CANCELLED") == "-2");
  CHECK(now.constants.at("CDRZOO_PLUGIN_ENTRY_NAME") == "\"cdrzoo_plugin_v0\"");
  CHECK(now.functions.at("cdrzoo_plugin_v0") == "cdrzoo_status (const cdrzoo_offer *, cdrzoo_answer *)");
  CHECK_FALSE(now.structs.at("cdrzoo_array").growable);
  CHECK(now.structs.at("cdrzoo_view").growable);
  CHECK(now.structs.at("cdrzoo_host").fields[2].type == "void (*)(cdrzoo_call *, int32_t, cdrzoo_str)");
}

TEST_CASE("every forbidden change of the headers is noticed", "[abi]") {
  // Reordered: two pointers of one size, which a tool that compares sizes does not see.
  CHECK_THAT(broken("const cdrzoo_view* train; /* labelled */\n  const cdrzoo_view* valid;",
                    "const cdrzoo_view* valid; /* labelled */\n  const cdrzoo_view* train;"),
             contains("cdrzoo_fit_in.train"));
  // Inserted in the middle of a growable struct.
  CHECK_THAT(broken("  uint64_t fingerprint[2];", "  uint64_t extra;\n  uint64_t fingerprint[2];"),
             contains("cdrzoo_view.fingerprint"));
  // Appended to a frozen one.
  CHECK_THAT(broken("  uint64_t len;\n", "  uint64_t len;\n  uint64_t capacity;\n"),
             contains("cdrzoo_str.capacity is new"));
  // Removed, renamed, retyped.
  CHECK_THAT(broken("  uint64_t memory_bytes; /*", "  /*"), contains("cdrzoo_call.memory_bytes"));
  CHECK_THAT(broken("  int64_t rows; ", "  int64_t n_rows; "), contains("cdrzoo_block.rows"));
  CHECK_THAT(broken("  uint64_t seed; ", "  int64_t seed; "), contains("cdrzoo_call.seed (uint64_t at 24)"));
  CHECK_THAT(broken("  uint64_t fingerprint[2];", "  uint64_t fingerprint[3];"), contains("cdrzoo_view.fingerprint"));
  // Signatures.
  CHECK_THAT(broken("int32_t level, cdrzoo_str message", "cdrzoo_str message, int32_t level"),
             contains("cdrzoo_host.log"));
  CHECK_THAT(broken("const cdrzoo_model* model, cdrzoo_model_info* out", "cdrzoo_model* model, cdrzoo_model_info* out"),
             contains("cdrzoo_ops.info"));
  CHECK_THAT(broken("typedef int32_t cdrzoo_status;", "typedef int64_t cdrzoo_status;"),
             contains("type cdrzoo_status"));
  CHECK_THAT(broken("cdrzoo_plugin_v0(const cdrzoo_offer* offer, ", "cdrzoo_plugin_v0(cdrzoo_offer* offer, "),
             contains("function cdrzoo_plugin_v0"));
  // Constants.
  CHECK_THAT(broken("#define CDRZOO_E_DATA (-8)", "#define CDRZOO_E_DATA (-80)"), contains("CDRZOO_E_DATA was -8"));
  CHECK_THAT(broken("#define CDRZOO_E_IO (-13)\n", ""), contains("CDRZOO_E_IO is gone"));
  CHECK_THAT(broken("#define CDRZOO_PLUGIN_ENTRY_NAME \"cdrzoo_plugin_v0\"", "#define CDRZOO_PLUGIN_ENTRY_NAME \"v0\""),
             contains("CDRZOO_PLUGIN_ENTRY_NAME"));
  CHECK_THAT(broken("#define CDRZOO_ABI_EPOCH 0u", "#define CDRZOO_ABI_EPOCH 1u"), contains("CDRZOO_ABI_EPOCH"));
}

TEST_CASE("what the grammar of the headers forbids is no layout at all", "[abi]") {
  CHECK_THAT(broken("  uint64_t seed; ", "  size_t seed; "), contains("\"size_t\" is not one of"));
  CHECK_THAT(broken("  uint64_t seed; ", "  bool seed; "), contains("\"bool\" is not one of"));
  CHECK_THAT(broken("  uint64_t seed; ", "  uint32_t seed; "), contains("has padding before deadline_ns"));
  CHECK_THAT(broken("  int32_t determinism; ", "  int32_t determinism; int32_t more; "), contains("padding"));
  CHECK_THAT(
      broken("  uint32_t flags;\n  const cdrzoo_host* host;", "  uint32_t flags : 4;\n  const cdrzoo_host* host;"),
      contains("no declaration that the ABI's grammar knows"));
  CHECK_THAT(broken("  const cdrzoo_state_reader* tensors;", "  cdrzoo_state_reader tensors;"),
             contains("growable struct cdrzoo_state_reader is a member by value"));
  CHECK_THAT(broken("typedef int32_t cdrzoo_status;", "enum cdrzoo_status { CDRZOO_FINE };"), contains("enum"));
  CHECK_THAT(broken("  int32_t device_index;", "  int32_t device_index, device_count;"), contains("no declaration"));
}

TEST_CASE("growth is allowed at the tail of growable structs and nowhere else", "[abi]") {
  const auto grown = [](const std::string& from, const std::string& to) { return compare(lock(), mutated(from, to)); };
  const LayoutChange tail = grown("  cdrzoo_str scratch_dir; ", "  cdrzoo_str scratch_dir; uint64_t appended; ");
  CHECK(tail.breaks.empty());
  CHECK(tail.growths == std::vector<std::string>{"cdrzoo_call.appended is new"});
  const LayoutChange slot = grown(
      "} cdrzoo_ops;", "  cdrzoo_status (*explain)(cdrzoo_call* call, const cdrzoo_model* model);\n} cdrzoo_ops;");
  CHECK(slot.breaks.empty());
  CHECK(slot.growths == std::vector<std::string>{"cdrzoo_ops.explain is new"});
  const LayoutChange constant =
      grown("#define CDRZOO_E_INTERNAL (-16)", "#define CDRZOO_E_INTERNAL (-16)\n#define CDRZOO_E_X (-17)");
  CHECK(constant.breaks.empty());
  CHECK(constant.growths == std::vector<std::string>{"constant CDRZOO_E_X is new"});
  const LayoutChange minor = grown("#define CDRZOO_ABI_MINOR 3u", "#define CDRZOO_ABI_MINOR 4u");
  CHECK(minor.breaks.empty());
  CHECK(minor.growths.empty());
  // A comment, a parameter's name: no layout.
  CHECK(grown("int32_t level, cdrzoo_str message", "int32_t how_bad, cdrzoo_str /* UTF-8 */ text").breaks.empty());
}

extern "C" {
const char* cdrzoo_abi_c99(void);
const char* cdrzoo_abi_c11(void);
const char* cdrzoo_abi_cxx17(void);
const char* cdrzoo_plugin_c99(void);
const char* cdrzoo_plugin_c11(void);
const char* cdrzoo_plugin_cxx17(void);
const char* cdrzoo_entry_c99(void);
const char* cdrzoo_random_c99(void);
}

TEST_CASE("each header stands alone in C99, C11 and C++17, without padding", "[abi]") {
  CHECK(std::string(cdrzoo_abi_c99()) + cdrzoo_abi_c11() + cdrzoo_abi_cxx17() ==
        "cdrzoo/abi.hcdrzoo/abi.hcdrzoo/abi.h");
  CHECK(std::string(cdrzoo_plugin_c99()) + cdrzoo_plugin_c11() + cdrzoo_plugin_cxx17() ==
        "cdrzoo/plugin.hcdrzoo/plugin.hcdrzoo/plugin.h");
  CHECK(std::string(cdrzoo_entry_c99()) + cdrzoo_random_c99() == "cdrzoo/entry.hcdrzoo/random.h");
}
