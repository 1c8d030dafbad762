// SPDX-License-Identifier: Apache-2.0
// What hangs on the order of the genes: the prior, and a hash that tells two orders apart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cdrzoo::csg2a {

using Genes = std::vector<std::string_view>;

/// SHA-256 of the symbols joined by newlines, 64 hex digits; empty for no genes.
[[nodiscard]] std::string order_of(const Genes& genes);
/// SHA-256 of bytes, 64 hex digits.
[[nodiscard]] std::string sha256(std::string_view bytes);

struct Prior {
  std::vector<float> row_sums;  ///< of A = I + edges among the genes, so 1 + number of neighbours
  std::int64_t edges = 0;       ///< distinct undirected edges with both ends among the genes
  std::int64_t elsewhere = 0;   ///< lines with an end that is none of them
};

/// Reads a list of edges: a header line, then a line per edge, fields separated by a comma or a tab, the symbols of
/// both ends in the first two. No quotes, at most 256 MiB. An edge counts once, whatever its direction and however
/// often it stands there, and one from a gene to itself not at all. \throws std::runtime_error with the number of the
/// line.
[[nodiscard]] Prior read_prior(std::string_view text, const Genes& genes);

}  // namespace cdrzoo::csg2a
