// SPDX-License-Identifier: Apache-2.0
// The layout of the ABI headers, read from their text: every struct with its fields, every constant, every signature.
//
// The text is the source, so nothing can be forgotten; the model computes offsets by the rules of the headers' own
// grammar (natural alignment, no implicit padding) and the compiler confirms them (layout_asserts.h). A committed lock
// is compared with the headers by one rule: what was there stays byte for byte; growable structs may get a longer tail,
// constants and whole types may be added.
#pragma once

#include <cctype>
#include <cstdint>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace cdrzoo::test {

struct LayoutField {
  std::string name, type;
  std::uint64_t offset = 0, size = 0;
};

struct LayoutStruct {
  bool growable = false;
  std::uint64_t size = 0;
  std::vector<LayoutField> fields;
};

struct Layout {
  std::map<std::string, LayoutStruct> structs;
  std::map<std::string, std::string> constants;  ///< name -> value
  std::map<std::string, std::string> types;      ///< typedefs that are no struct with a body
  std::map<std::string, std::string> functions;  ///< exported functions
};

struct LayoutError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace layout_detail {

inline bool word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Without comments; with lines joined that end in a backslash.
inline std::string plain(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "/*") == 0) {
      const std::size_t end = text.find("*/", i + 2);
      if (end == std::string::npos) throw LayoutError("a comment does not end");
      out += ' ';
      i = end + 2;
    } else if (text.compare(i, 2, "//") == 0) {
      i = text.find('\n', i);
      if (i == std::string::npos) break;
    } else if (text.compare(i, 2, "\\\n") == 0) {
      out += ' ';
      i += 2;
    } else {
      out += text[i++];
    }
  }
  return out;
}

inline std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < text.size();) {
    if (std::isspace(static_cast<unsigned char>(text[i])) != 0) {
      ++i;
    } else if (word(text[i])) {
      const std::size_t begin = i;
      while (i < text.size() && word(text[i])) ++i;
      out.push_back(text.substr(begin, i - begin));
    } else if (text[i] == '"') {
      const std::size_t end = text.find('"', i + 1);
      if (end == std::string::npos) throw LayoutError("a string does not end");
      out.push_back(text.substr(i, end + 1 - i));
      i = end + 1;
    } else {
      out.emplace_back(1, text[i++]);
    }
  }
  return out;
}

inline std::string join(const std::vector<std::string>& tokens) {
  std::string out;
  for (const auto& token : tokens) {
    if (!out.empty() && word(token.front()) && (word(out.back()) || out.back() == ',' || out.back() == '*')) out += ' ';
    if (token == "*" && !out.empty() && word(out.back())) out += ' ';
    out += token;
    if (token == ",") out += ' ';
  }
  return out;
}

class Parser {
 public:
  explicit Parser(Layout& layout) : layout_(layout) {}

  void header(const std::string& text) {
    std::istringstream lines(plain(text));
    std::string line, code;
    while (std::getline(lines, line)) {
      const std::size_t first = line.find_first_not_of(" \t");
      if (first != std::string::npos && line[first] == '#') {
        define(tokens_of(line.substr(first + 1)));
      } else {
        code += line + '\n';
      }
    }
    tokens_ = tokens_of(code);
    at_ = 0;
    while (at_ < tokens_.size()) declaration();
  }

 private:
  /// Integer and string constants. Function-like macros, guards and attributes are no part of the layout.
  void define(const std::vector<std::string>& t) {
    if (t.size() < 3 || t[0] != "define") return;
    std::string value;
    for (std::size_t i = 2; i < t.size(); ++i) value += t[i];
    if (value.size() > 2 && value.front() == '(' && value.back() == ')') value = value.substr(1, value.size() - 2);
    const std::size_t digit = value.find_first_not_of('-');
    if (digit == std::string::npos) return;
    if (value.front() != '"' && std::isdigit(static_cast<unsigned char>(value[digit])) == 0) return;
    while (value.back() == 'u' || value.back() == 'U') value.pop_back();
    if (!layout_.constants.emplace(t[1], value).second) throw LayoutError("constant " + t[1] + " stands twice");
  }

  [[nodiscard]] const std::string& peek(std::size_t ahead = 0) const {
    static const std::string kEnd;
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead] : kEnd;
  }
  std::string next() {
    if (at_ == tokens_.size()) throw LayoutError("the header ends in the middle of a declaration");
    return tokens_[at_++];
  }
  void expect(const std::string& token) {
    const std::string found = next();
    if (found != token) throw LayoutError("\"" + token + "\" was expected, but \"" + found + "\" was found");
  }

  void declaration() {
    if (peek() == "extern" && peek(1) == "\"C\"") {
      at_ += 3;
    } else if (peek() == "}") {
      ++at_;  // of extern "C"
    } else if (peek() == "typedef" && peek(1) == "struct" && peek(3) == "{") {
      at_ += 2;
      const std::string name = next();
      body(name);
      expect(name);
      expect(";");
    } else if (peek() == "struct" && peek(2) == "{") {
      ++at_;
      const std::string name = next();
      body(name);
      expect(";");
    } else if (peek() == "typedef") {
      ++at_;
      const auto [name, type] = declarator(until(";"));
      if (!layout_.types.emplace(name, type).second) throw LayoutError("type " + name + " stands twice");
    } else if (peek() == "CDRZOO_EXPORT") {
      ++at_;
      std::vector<std::string> t = until(";");
      std::size_t open = 0;
      while (open < t.size() && t[open] != "(") ++open;
      if (open < 1 || open + 1 >= t.size()) throw LayoutError("a function declaration is not understood");
      const std::string name = t[open - 1];
      const std::string result = join({t.begin(), t.begin() + static_cast<std::ptrdiff_t>(open) - 1});
      layout_.functions[name] =
          result + " (" + parameters({t.begin() + static_cast<std::ptrdiff_t>(open) + 1, t.end() - 1}) + ")";
    } else {
      throw LayoutError("\"" + peek() + "\" opens no declaration that the ABI's grammar knows");
    }
  }

  std::vector<std::string> until(const std::string& end) {
    std::vector<std::string> out;
    while (peek() != end) out.push_back(next());
    ++at_;
    return out;
  }

  /// Types only: a parameter's name is documentation.
  static std::string parameters(const std::vector<std::string>& tokens) {
    std::string out;
    std::vector<std::string> one;
    const auto flush = [&] {
      if (one.size() > 1 && word(one.back().front())) one.pop_back();
      out += (out.empty() ? "" : ", ") + join(one);
      one.clear();
    };
    for (const auto& token : tokens) {
      if (token == ",") {
        flush();
      } else {
        one.push_back(token);
      }
    }
    flush();
    return out;
  }

  struct Named {
    std::string name, type;
  };
  /// "const void *data", "int64_t shape[4]", "cdrzoo_status (*fit)(cdrzoo_call *call)".
  static Named declarator(const std::vector<std::string>& t) {
    for (std::size_t i = 0; i + 4 < t.size(); ++i) {
      if (t[i] == "(" && t[i + 1] == "*" && t[i + 3] == ")" && t[i + 4] == "(" && t.back() == ")") {
        const auto begin = t.begin() + static_cast<std::ptrdiff_t>(i);
        return {t[i + 2], join({t.begin(), begin}) + " (*)(" + parameters({begin + 5, t.end() - 1}) + ")"};
      }
    }
    for (const auto& token : t) {
      if (token == "," || token == ":" || token == "(" || token == "{") {
        throw LayoutError("\"" + join(t) + "\" is no declaration that the ABI's grammar knows");
      }
    }
    if (t.size() >= 5 && t[t.size() - 3] == "[" && t.back() == "]") {
      return {t[t.size() - 4], join({t.begin(), t.end() - 4}) + "[" + t[t.size() - 2] + "]"};
    }
    if (t.size() < 2) throw LayoutError("\"" + join(t) + "\" is no declaration that the ABI's grammar knows");
    return {t.back(), join({t.begin(), t.end() - 1})};
  }

  struct Extent {
    std::uint64_t size, alignment;
  };
  [[nodiscard]] Extent extent(const std::string& type) const {
    if (type.back() == ']') {
      const std::size_t open = type.find('[');
      const Extent element = extent(type.substr(0, open));
      return {element.size * std::stoull(type.substr(open + 1)), element.alignment};
    }
    if (type.find('*') != std::string::npos) return {8, 8};
    static const std::map<std::string, std::uint64_t> kPlain = {{"uint8_t", 1}, {"int8_t", 1}, {"uint32_t", 4},
                                                                {"int32_t", 4}, {"float", 4},  {"uint64_t", 8},
                                                                {"int64_t", 8}, {"double", 8}};
    const auto plain_type = kPlain.find(type);
    if (plain_type != kPlain.end()) return {plain_type->second, plain_type->second};
    const auto alias = layout_.types.find(type);
    if (alias != layout_.types.end()) return extent(alias->second);
    const auto known = layout_.structs.find(type);
    if (known == layout_.structs.end()) throw LayoutError("the type \"" + type + "\" is not one of the ABI's grammar");
    if (known->second.growable) throw LayoutError("the growable struct " + type + " is a member by value");
    return {known->second.size, 8};
  }

  void body(const std::string& name) {
    expect("{");
    LayoutStruct out;
    while (peek() != "}") {
      const Named named = declarator(until(";"));
      const Extent e = extent(named.type);
      if (out.size % e.alignment != 0) throw LayoutError(name + " has padding before " + named.name);
      out.fields.push_back({named.name, named.type, out.size, e.size});
      out.size += e.size;
    }
    ++at_;
    if (out.fields.empty()) throw LayoutError(name + " has no fields");
    if (out.size % 8 != 0) throw LayoutError(name + " has padding at its end");
    out.growable = out.fields.front().name == "size" && out.fields.front().type == "uint32_t";
    if (!layout_.structs.emplace(name, out).second) throw LayoutError("struct " + name + " stands twice");
  }

  Layout& layout_;
  std::vector<std::string> tokens_;
  std::size_t at_ = 0;
};

}  // namespace layout_detail

/// The layout of headers that build on each other, in order. \throws LayoutError for what the grammar forbids.
inline Layout layout_of(const std::vector<std::string>& header_texts) {
  Layout layout;
  layout_detail::Parser parser(layout);
  for (const auto& text : header_texts) parser.header(text);
  return layout;
}

/// The lock's text: one line per fact.
inline std::string to_text(const Layout& layout) {
  std::ostringstream out;
  for (const auto& [name, value] : layout.constants) out << "constant " << name << " = " << value << '\n';
  for (const auto& [name, type] : layout.types) out << "type " << name << " = " << type << '\n';
  for (const auto& [name, type] : layout.functions) out << "function " << name << " = " << type << '\n';
  for (const auto& [name, s] : layout.structs) {
    out << (s.growable ? "growable " : "frozen ") << name << " = " << s.size << '\n';
    for (const auto& f : s.fields) out << "  " << f.offset << ' ' << f.size << ' ' << f.name << " : " << f.type << '\n';
  }
  return out.str();
}

/// Reads to_text() back. \throws LayoutError
inline Layout from_text(const std::string& text) {
  Layout layout;
  std::istringstream lines(text);
  std::string line;
  LayoutStruct* open = nullptr;
  while (std::getline(lines, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream in(line);
    if (line[0] == ' ') {
      LayoutField f;
      std::string colon;
      in >> f.offset >> f.size >> f.name >> colon >> std::ws;
      std::getline(in, f.type);
      if (open == nullptr || colon != ":" || f.type.empty()) throw LayoutError("the lock has a line \"" + line + "\"");
      open->fields.push_back(f);
      continue;
    }
    std::string kind, name, equals, value;
    in >> kind >> name >> equals >> std::ws;
    std::getline(in, value);
    open = nullptr;
    if (equals != "=" || value.empty()) throw LayoutError("the lock has a line \"" + line + "\"");
    if (kind == "constant") {
      layout.constants[name] = value;
    } else if (kind == "type") {
      layout.types[name] = value;
    } else if (kind == "function") {
      layout.functions[name] = value;
    } else if (kind == "growable" || kind == "frozen") {
      open = &layout.structs[name];
      open->growable = kind == "growable";
      open->size = std::stoull(value);
    } else {
      throw LayoutError("the lock has a line \"" + line + "\"");
    }
  }
  return layout;
}

/// What changed between a lock and the headers, as sentences.
struct LayoutChange {
  std::vector<std::string> breaks;   ///< never allowed within an epoch
  std::vector<std::string> growths;  ///< allowed with a new minor and a new lock
};

inline LayoutChange compare(const Layout& lock, const Layout& now) {
  LayoutChange change;
  const auto table = [&change](const char* what, const std::map<std::string, std::string>& before,
                               const std::map<std::string, std::string>& after) {
    for (const auto& [name, value] : before) {
      const auto found = after.find(name);
      if (found == after.end()) {
        change.breaks.push_back(std::string(what) + " " + name + " is gone");
      } else if (found->second != value) {
        if (name == "CDRZOO_ABI_MINOR" && std::stoll(found->second) > std::stoll(value))
          continue;  // it is there to grow
        change.breaks.push_back(std::string(what) + " " + name + " was " + value + " and is " + found->second);
      }
    }
    for (const auto& [name, value] : after) {
      if (before.count(name) == 0) change.growths.push_back(std::string(what) + " " + name + " is new");
    }
  };
  table("constant", lock.constants, now.constants);
  table("type", lock.types, now.types);
  table("function", lock.functions, now.functions);
  for (const auto& [name, before] : lock.structs) {
    const auto found = now.structs.find(name);
    if (found == now.structs.end()) {
      change.breaks.push_back("struct " + name + " is gone");
      continue;
    }
    const LayoutStruct& after = found->second;
    if (before.growable != after.growable) change.breaks.push_back("struct " + name + " changed its kind");
    for (std::size_t i = 0; i < before.fields.size(); ++i) {
      const LayoutField& b = before.fields[i];
      if (i >= after.fields.size()) {
        change.breaks.push_back(name + "." + b.name + " is gone");
        continue;
      }
      const LayoutField& a = after.fields[i];
      if (a.name != b.name || a.type != b.type || a.offset != b.offset || a.size != b.size) {
        change.breaks.push_back(name + "." + b.name + " (" + b.type + " at " + std::to_string(b.offset) + ") is now " +
                                a.name + " (" + a.type + " at " + std::to_string(a.offset) + ")");
      }
    }
    for (std::size_t i = before.fields.size(); i < after.fields.size(); ++i) {
      (before.growable ? change.growths : change.breaks).push_back(name + "." + after.fields[i].name + " is new");
    }
  }
  for (const auto& [name, after] : now.structs) {
    if (lock.structs.count(name) == 0) change.growths.push_back("struct " + name + " is new");
  }
  return change;
}

}  // namespace cdrzoo::test
