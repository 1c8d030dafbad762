// SPDX-License-Identifier: Apache-2.0
#include "csg2a/genes.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <utility>

namespace cdrzoo::csg2a {
namespace {

constexpr std::size_t kMaxBytes = 256U << 20U;

constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t turn(std::uint32_t x, unsigned by) { return (x >> by) | (x << (32U - by)); }

void digest_block(std::array<std::uint32_t, 8>& state, const unsigned char* block) {
  std::uint32_t w[64];
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] = (std::uint32_t{block[4 * i]} << 24U) | (std::uint32_t{block[4 * i + 1]} << 16U) |
           (std::uint32_t{block[4 * i + 2]} << 8U) | std::uint32_t{block[4 * i + 3]};
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3U);
    const std::uint32_t s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10U);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
    const std::uint32_t s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::array<std::uint32_t, 8> add = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < 8; ++i) state[i] += add[i];
}

/// The first line of \p text without its end; \p text moves behind it.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

std::vector<std::string_view> fields_of(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  while (true) {
    const std::size_t end = line.find(separator);
    fields.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return fields;
    line.remove_prefix(end + 1);
  }
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string padded(bytes);
  padded += '\x80';
  padded.append((120 - padded.size() % 64) % 64, '\0');
  for (unsigned shift = 64; shift > 0; shift -= 8)
    padded += static_cast<char>((std::uint64_t{bytes.size()} * 8) >> (shift - 8));
  for (std::size_t i = 0; i < padded.size(); i += 64)
    digest_block(state, reinterpret_cast<const unsigned char*>(padded.data()) + i);
  std::string hex;
  for (const std::uint32_t word : state) {
    for (unsigned shift = 32; shift > 0; shift -= 4) hex += "0123456789abcdef"[(word >> (shift - 4)) & 15U];
  }
  return hex;
}

std::string order_of(const Genes& genes) {
  if (genes.empty()) return "";
  std::string joined;
  for (const auto gene : genes) joined.append(joined.empty() ? "" : "\n").append(gene);
  return sha256(joined);
}

Prior read_prior(std::string_view text, const Genes& genes) {
  if (text.size() > kMaxBytes) throw std::runtime_error("the list of edges has more than 256 MiB");
  std::unordered_map<std::string_view, std::size_t> number;
  for (std::size_t i = 0; i < genes.size(); ++i) number.emplace(genes[i], i);

  const std::string_view header = next_line(text);
  const char separator = header.find('\t') != std::string_view::npos ? '\t' : ',';
  const std::size_t columns = fields_of(header, separator).size();
  if (columns < 2) throw std::runtime_error("line 1: a list of edges needs a header of two columns, source and target");

  Prior prior;
  std::set<std::pair<std::size_t, std::size_t>> edges;
  for (std::size_t line_number = 2; !text.empty(); ++line_number) {
    const auto fields = fields_of(next_line(text), separator);
    if (fields.size() != columns || fields[0].empty() || fields[1].empty()) {
      throw std::runtime_error("line " + std::to_string(line_number) + ": an edge needs " + std::to_string(columns) +
                               " fields, as the header has, and a symbol in the first two");
    }
    const auto a = number.find(fields[0]);
    const auto b = number.find(fields[1]);
    if (a == number.end() || b == number.end()) {
      ++prior.elsewhere;
    } else if (a->second != b->second) {
      edges.insert(std::minmax(a->second, b->second));
    }
  }
  // Symbols of another naming would silently leave the identity.
  if (edges.empty()) {
    throw std::runtime_error("no line joins two of the " + std::to_string(genes.size()) + " genes of the data; " +
                             std::to_string(prior.elsewhere) + " lines name other genes");
  }
  prior.edges = static_cast<std::int64_t>(edges.size());
  prior.row_sums.assign(genes.size(), 1.0F);  // csg2a.md 2.3: the identity
  for (const auto& [a, b] : edges) {
    prior.row_sums[a] += 1;
    prior.row_sums[b] += 1;
  }
  return prior;
}

}  // namespace cdrzoo::csg2a
