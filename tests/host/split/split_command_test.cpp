// SPDX-License-Identifier: Apache-2.0
// cdrzoo split as a user calls it.
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo::test;

namespace {

struct Outcome {
  int status = -1;
  std::string out, err;
};

class Command {
 public:
  /// Runs cdrzoo in a folder of its own.
  Outcome operator()(const std::string& words) const {
    const std::string quoted = "'" + folder_.path().string() + "'";
    const std::string line =
        "cd " + quoted + " && '" CDRZOO_BIN_DIR "/cdrzoo' " + words + " > out.txt 2> err.txt < /dev/null";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("out.txt"), read("err.txt")};
  }
  std::string read(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("a split is made, shown, checked and used again") {
  const Command cdrzoo;
  REQUIRE(cdrzoo("data demo demo.h5").status == 0);

  const auto made =
      cdrzoo("split make demo.h5 --kind lco --source lines -o lco.json --csv lco.csv --groups groups.csv");
  CHECK(made.status == 0);
  CHECK(made.err.empty());
  CHECK_THAT(made.out, contains("kind        lco, domain lines") && contains("groups      sample"));
  const auto shown = cdrzoo("split info lco.json --data demo.h5");
  CHECK(shown.status == 0);
  CHECK(shown.out == made.out);
  const auto checked = cdrzoo("split check lco.json --data demo.h5");
  CHECK(checked.status == 0);
  CHECK_THAT(checked.out, contains("5 folds, disjoint by record and by sample, made again with the same result"));
  CHECK_THAT(cdrzoo.read("groups.csv"), contains("record,domain,sample_group,drug_group,tissue,scaffold\n"));

  // The same folds through an experiment, and through the table.
  cdrzoo.write("e.toml",
               "dataset = \"demo.h5\"\nsplit = { kind = \"lco\", source = \"lines\" }\nmodel = [{ id = \"m\" }]\n");
  CHECK(cdrzoo("split make -e e.toml").out == made.out);
  const auto table = cdrzoo("split make demo.h5 --kind file --file lco.csv -o table.json");
  CHECK(table.status == 0);
  CHECK(table.out.substr(table.out.find("repeat  fold")) == made.out.substr(made.out.find("repeat  fold")));
  CHECK(cdrzoo("split check table.json --data demo.h5").status == 0);

  // Another data set, and a damaged file.
  REQUIRE(cdrzoo("data demo other.h5 --seed 1").status == 0);
  const auto other = cdrzoo("split check lco.json --data other.h5");
  CHECK(other.status == 1);
  CHECK_THAT(other.out, contains("it was made for a data set with data hash"));
  auto text = cdrzoo.read("lco.json");
  cdrzoo.write("lco.json", text.substr(0, text.size() / 2));
  CHECK(cdrzoo("split check lco.json --data demo.h5").status == 1);
  CHECK(cdrzoo("split info lco.json --data demo.h5").status == 2);
}

TEST_CASE("a split of perturbation profiles is made, shown, checked and used again") {
  const Command cdrzoo;
  REQUIRE(cdrzoo("data demo screen.h5 --perturbations").status == 0);
  const auto of_records = cdrzoo("split make screen.h5 --kind ldo -o s.json");
  CHECK(of_records.status == 2);
  CHECK_THAT(of_records.err,
             contains("data set perturbation_demo has no responses, and split kind \"ldo\" divides those; "
                      "it has 433 perturbation profiles, which are for task \"expression\""));
  const auto made =
      cdrzoo("split make screen.h5 --kind unseen_context --folds 3 -o s.json --csv s.csv --groups groups.csv");
  CHECK(made.err.empty());
  REQUIRE(made.status == 0);
  CHECK_THAT(made.out, contains("kind        unseen_context") && contains("groups      context") &&
                           contains("conditions") && contains("references"));
  CHECK(cdrzoo("split info s.json --data screen.h5").out == made.out);
  const auto checked = cdrzoo("split check s.json --data screen.h5");
  CHECK(checked.status == 0);
  CHECK_THAT(checked.out, contains("3 folds, disjoint by record and by context, made again with the same result"));
  CHECK_THAT(cdrzoo.read("groups.csv"),
             contains("profile,domain,context,group,group_b,dose_log10_molar,time_h,context_group\n"));
  const auto table = cdrzoo("split make screen.h5 --kind file --task expression --file s.csv");
  CHECK(table.err.empty());
  CHECK(table.out.substr(table.out.find("repeat  fold")) == made.out.substr(made.out.find("repeat  fold")));
  CHECK(cdrzoo("split make screen.h5 --kind unseen_context --folds 2 --context nowhere").status == 2);
}

TEST_CASE("wrong calls of cdrzoo split exit with 2 and one line that says why") {
  const Command cdrzoo;
  REQUIRE(cdrzoo("data demo demo.h5 --lines 30 --patients 10").status == 0);
  const auto refuse = [&](const std::string& words, const std::string& why) {
    const auto outcome = cdrzoo("split " + words);
    CAPTURE(words, outcome.err);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK_THAT(outcome.err, contains(why));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  };
  refuse("mke", "unknown verb 'split mke'; known: make, info, check");
  refuse("make demo.h5", "--kind is missing");
  refuse("make --kind lco", "expected one DATASET");
  refuse("make demo.h5 --kind loco", "unknown split kind 'loco'");
  refuse("make demo.h5 --kind lco --source moon", "moon");
  refuse("make demo.h5 --kind lco --folds 20 --source lines", "fewer than 2");
  refuse("make demo.h5 --kind lco --task survival", "expected regression, binary or expression");
  refuse("make absent.h5 --kind lco", "absent.h5");
  refuse("make demo.h5 --kind lco --singles-seen 1", "singles_seen goes with split kind 'unseen_combination'");
  refuse("make demo.h5 -e e.toml", "--experiment says everything; DATASET does not go with it");
  refuse("make -e e.toml --seed 1", "--experiment says everything; seed does not go with it");
  refuse("make demo.h5 --kind lco --source lines -o no/where.json", "no/where.json");
  refuse("info lco.json", "--data is missing");
  refuse("check absent.json --data demo.h5", "absent.json");
  CHECK(cdrzoo("split --help").status == 0);
  CHECK(cdrzoo("split make --help").status == 0);
  CHECK(cdrzoo("split").status == 2);
}
