// SPDX-License-Identifier: Apache-2.0
#include "plugin/elf.hpp"

#include <elf.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "base/error.hpp"

namespace cdrzoo {

namespace {

constexpr std::uint64_t kMaxTableBytes = std::uint64_t{256} << 20U;

/// A file whose parts can be read only within its bounds.
class BoundedFile {
 public:
  explicit BoundedFile(const std::filesystem::path& path) : file_(path, std::ios::binary) {
    if (!file_) throw IoError("cannot open " + path.string() + ": " + std::strerror(errno));
    std::error_code failed;
    size_ = std::filesystem::file_size(path, failed);
    if (failed) throw IoError("cannot read " + path.string() + ": " + failed.message());
  }
  [[nodiscard]] bool read(std::uint64_t offset, void* into, std::uint64_t bytes) {
    if (offset > size_ || bytes > size_ - offset) return false;
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(offset));
    file_.read(static_cast<char*>(into), static_cast<std::streamsize>(bytes));
    return static_cast<bool>(file_);
  }

 private:
  std::ifstream file_;
  std::uint64_t size_ = 0;
};

#if defined(__x86_64__)
constexpr int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kMachine = EM_AARCH64;
#else
constexpr int kMachine = EM_NONE;  // not checked: the loader will say it
#endif

}  // namespace

ElfInfo read_elf(const std::filesystem::path& path) {
  BoundedFile file(path);
  ElfInfo info;
  Elf64_Ehdr header{};
  if (!file.read(0, &header, sizeof header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    info.problem = "is no ELF file";
    return info;
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    info.problem = "is an ELF file, but not 64-bit little-endian";
    return info;
  }
  if (header.e_type != ET_DYN) {
    info.problem = "is an ELF file, but no shared library";
    return info;
  }
  if (kMachine != EM_NONE && header.e_machine != kMachine) {
    info.problem = "is built for another processor (ELF machine " + std::to_string(header.e_machine) + ", expected " +
                   std::to_string(kMachine) + ")";
    return info;
  }
  if (header.e_shnum == 0 || header.e_shentsize != sizeof(Elf64_Shdr)) return info;
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!file.read(header.e_shoff, sections.data(), sections.size() * sizeof(Elf64_Shdr))) {
    info.problem = "is a damaged ELF file: its section headers lie outside the file";
    return info;
  }
  for (const auto& section : sections) {
    if (section.sh_type != SHT_DYNSYM || section.sh_link >= sections.size()) continue;
    const auto& names = sections[section.sh_link];
    if (section.sh_size > kMaxTableBytes || names.sh_size > kMaxTableBytes) continue;
    std::vector<Elf64_Sym> symbols(section.sh_size / sizeof(Elf64_Sym));
    std::string text(names.sh_size, '\0');
    if (!file.read(section.sh_offset, symbols.data(), symbols.size() * sizeof(Elf64_Sym)) ||
        !file.read(names.sh_offset, text.data(), text.size())) {
      info.problem = "is a damaged ELF file: its symbol table lies outside the file";
      return info;
    }
    info.has_symbol_table = true;
    for (const auto& symbol : symbols) {
      const auto bind = ELF64_ST_BIND(symbol.st_info);
      const auto type = ELF64_ST_TYPE(symbol.st_info);
      const bool exported = symbol.st_shndx != SHN_UNDEF && bind != STB_LOCAL &&
                            ELF64_ST_VISIBILITY(symbol.st_other) != STV_HIDDEN && symbol.st_shndx != SHN_ABS &&
                            (type == STT_FUNC || type == STT_OBJECT || type == STT_NOTYPE || type == STT_GNU_IFUNC);
      if (!exported || symbol.st_name >= text.size()) continue;
      info.exports.emplace_back(text.c_str() + symbol.st_name);  // text ends with a terminator of its own
    }
  }
  std::sort(info.exports.begin(), info.exports.end());
  return info;
}

}  // namespace cdrzoo
