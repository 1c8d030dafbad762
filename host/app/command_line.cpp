// SPDX-License-Identifier: Apache-2.0
#include "app/command_line.hpp"

#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/error.hpp"

namespace cdrzoo::app {

std::optional<po::variables_map> parse(const std::vector<std::string>& words, const Usage& usage,
                                       po::options_description options, const std::string& positional) {
  options.add_options()("help,h", "show this help");
  po::options_description all;
  all.add(options);
  po::positional_options_description places;
  if (!positional.empty()) {
    po::options_description hidden;
    hidden.add_options()(positional.c_str(), po::value<std::vector<std::string>>());
    all.add(hidden);
    places.add(positional.c_str(), -1);
  }
  po::variables_map values;
  try {
    po::store(po::command_line_parser(words).options(all).positional(places).run(), values);
    po::notify(values);
  } catch (const po::error& e) {
    throw UsageError(std::string(e.what()) + "; usage: " + usage.synopsis + " (--help shows more)");
  }
  if (values.count("help") != 0) {
    std::cout << "usage: " << usage.synopsis << "\n\n"
              << usage.summary << "\n\n"
              << options << "\nexamples:\n"
              << usage.examples << "\nexit status: 0 done, 1 something in it failed, 2 it could not run\n";
    return std::nullopt;
  }
  return values;
}

std::string single(const po::variables_map& values, const std::string& name, const Usage& usage) {
  if (values.count(name) != 0) {
    const auto& given = values[name].as<std::vector<std::string>>();
    if (given.size() == 1) return given.front();
  }
  throw UsageError("expected one " + name + "; usage: " + usage.synopsis + " (--help shows more)");
}

int run_verb(const std::string& command, const std::vector<Verb>& verbs, const std::vector<std::string>& words) {
  const std::string wanted = words.empty() ? "" : words.front();
  std::string help = "usage: cdrzoo " + command + " VERB [ARGUMENTS]\n\nverbs:\n";
  std::string names;
  for (const auto& verb : verbs) {
    if (wanted == verb.name) return verb.run({words.begin() + 1, words.end()});
    help += "  " + std::string(verb.name).append(10 - std::string(verb.name).size(), ' ') + verb.summary + "\n";
    names += std::string(names.empty() ? "" : ", ") + verb.name;
  }
  help += "\ncdrzoo " + command + " VERB --help shows the options of one, with examples\n";
  if (wanted.empty()) {
    std::cerr << help;
    return kExitUsage;
  }
  if (wanted != "--help" && wanted != "-h") {
    throw UsageError("unknown verb '" + command + " " + wanted + "'; known: " + names);
  }
  std::cout << help;
  return kExitOk;
}

bool use_color() { return ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr; }

}  // namespace cdrzoo::app
