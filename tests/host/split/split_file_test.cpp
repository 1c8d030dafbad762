// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "grid_dataset.hpp"
#include "split/split.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
using nlohmann::json;

namespace {

SplitSpec spec_of(const std::string& kind, std::uint64_t seed = 0) {
  SplitSpec spec;
  spec.kind = kind;
  spec.folds = kind == "pairs811" ? 10 : 3;
  spec.seed = seed;
  spec.source = "lines";
  if (kind == "transfer") spec.target = "patients";
  return spec;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
/// A file that was changed by somebody who also repaired the hash.
void forge(const std::filesystem::path& path, json value) {
  value.erase("hash");
  value["hash"] = sha256_hex(value.dump());
  write(path, value.dump());
}

bool same(const Fold& a, const Fold& b) {
  return a.repeat == b.repeat && a.fold == b.fold && a.train == b.train && a.early_stop == b.early_stop &&
         a.validation == b.validation && a.test == b.test && a.unlabelled_samples == b.unlabelled_samples &&
         a.n_discarded == b.n_discarded && a.n_discarded_inner == b.n_discarded_inner &&
         a.n_train_groups == b.n_train_groups && a.n_test_groups == b.n_test_groups &&
         a.transductive == b.transductive && a.early_stop_is_validation == b.early_stop_is_validation;
}

int run_python(const std::filesystem::path& split, const std::filesystem::path& groups) {
  const std::string command = "'" CDRZOO_PYTHON "' '" CDRZOO_CHECK_SPLIT "' '" + split.string() + "' '" +
                              groups.string() + "' > /dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a split survives its file") {
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const std::string kind = GENERATE("lpo", "lco", "ldo", "lto", "lso", "lcdo", "pairs811", "transfer");
  auto spec = spec_of(kind, 18446744073709551615ULL);
  spec.repeats = 2;
  const auto split = make_split(dataset, spec, all_rows(dataset));
  write_split(split, folder / "split.json");
  const auto again = read_split(folder / "split.json", dataset);
  CHECK(again.hash == split.hash);
  CHECK(again.data_hash == split.data_hash);
  CHECK(again.group_type == split.group_type);
  CHECK(again.spec.seed == split.spec.seed);
  CHECK(split_hash(again) == split.hash);
  REQUIRE(again.folds.size() == split.folds.size());
  for (std::size_t f = 0; f < split.folds.size(); ++f) CHECK(same(again.folds[f], split.folds[f]));

  SplitSpec by_file;
  by_file.kind = "file";
  by_file.file = folder / "split.json";
  CHECK(make_split(dataset, by_file, all_rows(dataset)).hash == split.hash);
  CHECK_THROWS_WITH(make_split(dataset, by_file, rows_of(dataset, 1)), contains("has no usable value for this task"));
}

TEST_CASE("another implementation finds the same folds and the same hash") {
  if (std::string(CDRZOO_PYTHON).empty()) {
    WARN("skipped: no python3");
    return;
  }
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  write_groups_csv(dataset, all_rows(dataset), folder / "groups.csv");
  const std::string kind =
      GENERATE("lpo", "lco", "ldo", "lto", "lso", "lcdo", "pairs811", "transfer", "transfer pairs");
  auto spec = spec_of(kind.substr(0, kind.find(' ')), 7);
  if (kind == "transfer pairs") spec.inner_group = "pair";
  spec.repeats = 2;
  const auto split = make_split(dataset, spec, all_rows(dataset));
  write_split(split, folder / "split.json");
  CHECK(run_python(folder / "split.json", folder / "groups.csv") == 0);

  // It can fail: one record moved from test to nowhere, hash repaired.
  auto value = json::parse(read(folder / "split.json"));
  value["folds"][1]["test"].erase(0);
  forge(folder / "forged.json", value);
  CHECK(run_python(folder / "forged.json", folder / "groups.csv") == 1);
  value["folds"][1]["test"] = split.folds[1].test;
  value["hash"] = std::string(64, '0');
  write(folder / "forged.json", value.dump());
  CHECK(run_python(folder / "forged.json", folder / "groups.csv") == 1);
}

TEST_CASE("the hash of a fixed split never changes") {
  auto data = grid();
  const auto dataset = data.build();
  // share/tools/check_split.py makes the same folds and finds the same hashes.
  CHECK(make_split(dataset, spec_of("lco"), all_rows(dataset)).hash ==
        "d73ba4e9cdb8bd303ff27900db98dbc50d59da4e28adb88dfcfc358438581d27");
  CHECK(make_split(dataset, spec_of("lcdo"), all_rows(dataset)).hash ==
        "fd44765250aef1a8c87779ec2c846cf2b161a3e46051d6fc576a22e328123f43");
}

TEST_CASE("damaged split files are refused with one sentence") {
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto path = folder / "split.json";
  write_split(make_split(dataset, spec_of("lco"), all_rows(dataset)), path);
  const auto text = read(path);
  const auto good = json::parse(text);
  const auto refuse = [&](const std::string& sentence) {
    CHECK_THROWS_AS(read_split(path, dataset), DataError);
    CHECK_THROWS_WITH(read_split(path, dataset), contains("split.json: ") && contains(sentence));
  };

  SECTION("cut off") {
    for (const auto n : {std::size_t{0}, std::size_t{1}, text.size() / 2, text.size() - 3}) {
      write(path, text.substr(0, n));
      refuse("damaged or cut off");
    }
  }
  SECTION("one digit changed") {
    auto changed = text;
    const auto place = changed.find("\"seed\":0");
    REQUIRE(place != std::string::npos);
    changed[place + 7] = '1';
    write(path, changed);
    refuse("the content was changed");
  }
  SECTION("something else") {
    write(path, "[1, 2, 3]");
    refuse("is no JSON object");
    write(path, "{\"format\": \"other\"}");
    refuse("no split file of cdrzoo");
    write(path, "\xff\xfe\x00");
    refuse("damaged");
  }
  SECTION("nested without end") {
    write(path, std::string(1000000, '['));
    refuse("nested too deeply");
  }
  SECTION("random bytes changed") {
    for (std::uint64_t i = 0; i < 300; ++i) {
      auto changed = text;
      for (std::uint64_t k = 0; k <= i % 3; ++k) {
        changed[splitmix64(i, 2 * k) % changed.size()] = static_cast<char>(splitmix64(i, 2 * k + 1) % 256);
      }
      if (changed == text) continue;
      write(path, changed);
      CHECK_THROWS_AS(read_split(path, dataset), DataError);
    }
  }
  SECTION("a later version") {
    auto value = good;
    value["version"] = 2;
    forge(path, value);
    refuse("version 2 cannot be read");
  }
  SECTION("an unknown member") {
    auto value = good;
    value["comment"] = "hello";
    forge(path, value);
    refuse("unknown member 'comment'");
  }
  SECTION("a missing member") {
    auto value = good;
    value["folds"][1].erase("test");
    forge(path, value);
    refuse("member 'test' is missing in fold 1");
  }
  SECTION("a row outside the data set") {
    auto value = good;
    value["folds"][0]["test"].push_back(dataset.responses.size());
    forge(path, value);
    refuse("'test' of fold 0 is not a list of indices below");
    value["folds"][0]["test"] = {-1};
    forge(path, value);
    refuse("'test' of fold 0 is not a list of indices below");
    value["folds"][0]["test"] = {1.5};
    forge(path, value);
    refuse("'test' of fold 0 is not a list of indices below");
  }
  SECTION("rows out of order or twice") {
    auto value = good;
    value["folds"][0]["test"] = {3, 2};
    forge(path, value);
    refuse("ascending order");
    value["folds"][0]["test"] = {3, 3};
    forge(path, value);
    refuse("ascending order");
  }
  SECTION("a test record in train") {
    auto value = good;
    auto rows = value["folds"][0]["train"].get<std::vector<int>>();
    rows.push_back(value["folds"][0]["test"][0]);
    std::sort(rows.begin(), rows.end());
    value["folds"][0]["train"] = rows;
    forge(path, value);
    refuse("is in train and in test");
  }
  SECTION("an empty part") {
    auto value = good;
    value["folds"][2]["validation"] = json::array();
    forge(path, value);
    refuse("fold 2 has an empty part");
  }
  SECTION("a fold too few") {
    auto value = good;
    value["folds"].erase(1);
    forge(path, value);
    refuse("holds 2 folds, and its spec asks for 3");
  }
  SECTION("wrong types everywhere") {
    for (const char* key : {"spec", "data_hash", "group_type", "folds", "hash"}) {
      auto value = good;
      value[key] = 5;
      if (std::string(key) == "hash") {
        write(path, value.dump());
      } else {
        forge(path, value);
      }
      CHECK_THROWS_AS(read_split(path, dataset), DataError);
    }
  }
  SECTION("another data set") {
    auto other = grid();
    other.record("s00", "d00", 5.0, 1, 7);
    const auto changed = other.build();
    CHECK_THROWS_WITH(read_split(path, changed), contains(dataset.data_hash()) && contains(changed.data_hash()));
  }
  SECTION("no file, or a folder") {
    CHECK_THROWS_AS(read_split(folder / "absent.json", dataset), IoError);
    CHECK_THROWS_WITH(read_split(folder / "absent.json", dataset), contains("absent.json"));
    CHECK_THROWS_AS(read_split(folder.path(), dataset), IoError);
  }
  SECTION("a folder that does not exist cannot be written to") {
    const auto split = make_split(dataset, spec_of("lco"), all_rows(dataset));
    CHECK_THROWS_AS(write_split(split, folder / "absent" / "split.json"), IoError);
  }
}

TEST_CASE("a table of parts comes back as the split it was written from") {
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const std::string kind = GENERATE("lpo", "lco", "ldo", "lcdo");
  const auto split = make_split(dataset, spec_of(kind), all_rows(dataset));
  write_split_csv(dataset, split, folder / "parts.csv");
  const auto again = load_split(folder / "parts.csv", dataset, rows_of(dataset, 0));
  CHECK(again.spec.kind == "file");
  CHECK(again.group_type == split.group_type);
  REQUIRE(again.folds.size() == (kind == "lcdo" ? 9U : 3U));
  for (std::size_t f = 0; f < split.folds.size(); ++f) {
    auto expected = split.folds[f];
    expected.n_discarded_inner = 0;  // a table does not tell why a record is in no part
    CHECK(same(again.folds[f], expected));
  }
  write_split(again, folder / "again.json");
  CHECK(read_split(folder / "again.json", dataset).hash == again.hash);
}

TEST_CASE("a table by names, without early stopping, gets one eighth of its training samples") {
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto split = make_split(dataset, spec_of("lco"), all_rows(dataset));
  write_split_csv(dataset, split, folder / "all.csv");
  std::istringstream lines(read(folder / "all.csv"));
  std::string text = "sample,drug,replicate,fold,part\r\n";
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::vector<std::string> field;
    std::istringstream words(line);
    for (std::string word; std::getline(words, word, ',');) field.push_back(word);
    const auto part = field[7] == "early_stop" ? std::string("train") : field[7];
    text += field[2] + ',' + field[3] + ',' + field[4] + ',' + field[6] + ',' + part + "\r\n";
  }
  write(folder / "names.csv", text);
  const auto again = load_split(folder / "names.csv", dataset, rows_of(dataset, 0));
  CHECK(again.group_type == "sample");
  for (std::size_t f = 0; f < 3; ++f) {
    CHECK(again.folds[f].train == split.folds[f].train);
    CHECK(again.folds[f].test == split.folds[f].test);
    const auto share =
        static_cast<double>(again.folds[f].early_stop.size()) / static_cast<double>(again.folds[f].train.size());
    CHECK_THAT(share, WithinAbs(0.125, 0.05));
  }
}

TEST_CASE("a table that cannot be used is refused with file and line") {
  auto data = grid();
  const auto dataset = data.build();
  const TemporaryFolder folder;
  const auto path = folder / "parts.csv";
  const auto refuse = [&](const std::string& text, const std::string& sentence) {
    write(path, text);
    CHECK_THROWS_AS(load_split(path, dataset, rows_of(dataset, 0)), DataError);
    CHECK_THROWS_WITH(load_split(path, dataset, rows_of(dataset, 0)), contains(sentence));
  };
  refuse("", "is empty; expected a header line");
  refuse("record,fold,part\n", "the table has no rows");
  refuse("record,fold,role\n0,0,test\n", "parts.csv line 1: unknown column 'role'; known: ");
  refuse("sample,fold,part\ns00,0,test\n", "needs the column record, or the columns sample and drug");
  refuse("record,part\n0,test\n", "needs the columns fold and part");
  refuse("record,fold,part,part\n0,0,test,test\n", "has the column 'part' twice");
  refuse("record,fold,part\n0,0,test\n0,0,train\n", "parts.csv line 3: record 0 is in this fold already, at line 2");
  refuse("record,fold,part\n99999,0,test\n", "line 2: column 'record': '99999' is not a whole number below");
  refuse("record,fold,part\n-1,0,test\n", "'-1' is not a whole number below");
  refuse("record,fold,part\n0,0,tset\n", "part is 'tset', not train, early_stop, validation or test");
  refuse("record,fold,part\n0,0\n", "parts.csv line 2: ");
  refuse("record,fold,part\n\"0,0,test\n", "a quote that is never closed");
  refuse("sample,drug,fold,part\nnobody,d00,0,test\n", "no record of sample 'nobody' and drug 'd00'");
  refuse("record,sample,drug,fold,part\n0,s51,d00,0,test\n", "record 0 is not of sample 's51'");
  const auto last = std::to_string(dataset.responses.size() - 1);
  refuse("record,fold,part\n" + last + ",0,test\n", "has no usable value for this task");
  refuse("record,fold,part\n0,0,test\n1,0,train\n", "fold 0 has an empty part");
  refuse("record,fold,part\n0,1,test\n1,1,train\n2,1,validation\n", "1 folds, and its spec asks for 2");
  refuse("record,fold,part\n0,0,test\n1,0,early_stop\n2,0,validation\n", "fold 0 tests 1 record");
}
