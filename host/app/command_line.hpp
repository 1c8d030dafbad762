// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

namespace cdrzoo::app {

namespace po = boost::program_options;

/// How one command is called; `--help` is added by parse().
struct Usage {
  std::string synopsis;  ///< "cdrzoo data info FILE [--json]"
  std::string summary;   ///< one or two sentences
  std::string examples;  ///< real lines with a word of explanation each
};

/// Parses the words of a command. Positional words go to the option \p positional (a vector<string>), if it is named.
/// Prints help and returns nothing for --help. \throws UsageError that says what was wrong and how to see the help.
[[nodiscard]] std::optional<po::variables_map> parse(const std::vector<std::string>& words, const Usage& usage,
                                                     po::options_description options,
                                                     const std::string& positional = "");

/// The only word of option \p name, or a UsageError that repeats the synopsis.
[[nodiscard]] std::string single(const po::variables_map& values, const std::string& name, const Usage& usage);

/// A part of a command: `cdrzoo data info`.
struct Verb {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& words);
};

/// Runs the verb that the first word names. Without one, or with --help, prints what there is.
/// \throws UsageError that names the known verbs.
[[nodiscard]] int run_verb(const std::string& command, const std::vector<Verb>& verbs,
                           const std::vector<std::string>& words);

/// Is the standard output a terminal whose user has not asked for plain text (NO_COLOR)?
[[nodiscard]] bool use_color();

}  // namespace cdrzoo::app
