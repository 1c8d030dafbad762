// SPDX-License-Identifier: Apache-2.0
#include "import/csv.hpp"

#include <fstream>

#include "base/error.hpp"
#include "support/catch.hpp"
#include "support/gzip_text.hpp"
#include "support/temporary_folder.hpp"

using cdrzoo::CsvReader;
using cdrzoo::test::contains;
using cdrzoo::test::TemporaryFolder;

namespace {

class Csv {
 public:
  explicit Csv(const std::string& text) : path_(folder_ / "a file.csv") {
    std::ofstream(path_, std::ios::binary) << text;
  }
  [[nodiscard]] CsvReader open(const cdrzoo::Dialect& dialect = {},
                               CsvReader::RowNames row_names = CsvReader::RowNames::have_header) const {
    return CsvReader(path_, dialect, row_names);
  }
  /// Reads to the end.
  void drain() const {
    auto csv = open();
    while (csv.next()) {
    }
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
};

std::vector<std::vector<std::string>> rows(CsvReader csv) {
  std::vector<std::vector<std::string>> out;
  while (csv.next()) {
    out.emplace_back();
    for (std::size_t c = 0; c < csv.header().size(); ++c) out.back().push_back(csv.field(c));
  }
  return out;
}

using Rows = std::vector<std::vector<std::string>>;

}  // namespace

TEST_CASE("Plain fields, quotes, line ends and a byte order mark are read") {
  CHECK(rows(Csv("a,b\n1,2\n3,4\n").open()) == Rows{{"1", "2"}, {"3", "4"}});
  CHECK(rows(Csv("a,b\r\n1,2\r\n3,4").open()) == Rows{{"1", "2"}, {"3", "4"}});
  CHECK(rows(Csv("a,b\n\"x, \"\"y\"\"\",\n").open()) == Rows{{"x, \"y\"", ""}});
  CHECK(rows(Csv("a,b\n\"two\nlines\",z\n").open()) == Rows{{"two\nlines", "z"}});
  CHECK(rows(Csv("\xEF\xBB\xBF"
                 "a,b\n1,2\n\n\n")
                 .open()) == Rows{{"1", "2"}});
  CHECK(rows(Csv("a\nx\n\ny\n").open()) == Rows{{"x"}, {""}, {"y"}});  // one column: an empty line is an empty field
  CHECK(rows(Csv("a,b\n").open()).empty());
}

TEST_CASE("A gzip file reads like the plain one, and a cut one is an error") {
  const TemporaryFolder folder;
  std::string text = "id,x\n";
  for (int i = 0; i < 50000; ++i) text += "sample" + std::to_string(i * 7919 % 50000) + "," + std::to_string(i) + "\n";
  const auto path = folder / "x.csv.gz";
  cdrzoo::test::write_gzip(path, text);
  const auto all = rows(CsvReader(path));
  REQUIRE(all.size() == 50000);
  CHECK(all[49999][1] == "49999");
  const auto size = std::filesystem::file_size(path);
  for (const auto cut : {size / 2, size - 9, size - 1}) {
    const auto shorter = folder / "cut.csv.gz";
    std::filesystem::copy_file(path, shorter, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(shorter, cut);
    CHECK_THROWS_WITH(rows(CsvReader(shorter)), contains("cut.csv.gz is damaged or truncated"));
  }
}

TEST_CASE("Malformed CSV is refused with file and line") {
  CHECK_THROWS_WITH(Csv("").open(), contains("a file.csv is empty; expected a header line"));
  CHECK_THROWS_WITH(Csv("a,b,a\n").open(), contains("line 1: the header has the column 'a' twice (columns 1 and 3)"));
  CHECK_THROWS_WITH(Csv("a,,c\n").open(), contains("the header of column 2 is empty"));
  CHECK_THROWS_WITH(Csv("a,b\n1,2\n1,2,3\n").drain(), contains("line 3: has 3 fields; the header has 2"));
  CHECK_THROWS_WITH(Csv("a,b\n1\n").drain(), contains("line 2: has 1 fields; the header has 2"));
  CHECK_THROWS_WITH(Csv("a,b\n\"x\ny\",1\n\"open\n").drain(), contains("line 4: has a quote that is never closed"));
  CHECK_THROWS_WITH(Csv("a,b\n\"x\"y,1\n").drain(), contains("line 2: has text after a closing quote"));
  CHECK_THROWS_WITH(Csv("a,b\nx\"y,1\n").drain(), contains("line 2: has a quote inside an unquoted field"));
  CHECK_THROWS_WITH(Csv("a,b\n1,2\r3,4\n").drain(), contains("line 2: has a carriage return"));
  CHECK_THROWS_WITH(Csv(std::string("a,b\n1,\0\n", 8)).drain(), contains("line 2: has a NUL byte"));
  CHECK_THROWS_WITH(Csv("a,b\n1,2\n\n3,4\n").drain(), contains("line 3: is empty, but rows follow"));
  CHECK_THROWS_WITH(CsvReader("/nowhere/x.csv"), contains("cannot read /nowhere/x.csv: No such file"));
  CHECK_THROWS_WITH(CsvReader("/tmp"), contains("it is a folder"));
  CHECK_THROWS_WITH(Csv("a,b\n").open().column("c"), contains("has no column 'c'; it has a, b"));
}

TEST_CASE("A file with two kinds of line ends is refused, but quoted fields may hold what they like") {
  CHECK_THROWS_WITH(Csv("a,b\n1,2\n3,4\r\n").drain(),
                    contains("a file.csv line 3: ends with CRLF, but line 1 ends with LF"));
  CHECK_THROWS_WITH(Csv("a,b\r\n1,2\n").drain(), contains("line 2: ends with LF, but line 1 ends with CRLF"));
  CHECK_THROWS_WITH(Csv("a,b\n1,2\n\r\n").drain(), contains("line 3: ends with CRLF"));
  CHECK(rows(Csv("a,b\r\n\"x\ny\",2\r\n").open()) == Rows{{"x\ny", "2"}});
}

TEST_CASE("A dialect sets separator, decimal sign, missing words, comments and trimming") {
  cdrzoo::Dialect dialect;
  dialect.separator = ';';
  dialect.decimal = ',';
  dialect.missing = {"-", "-999"};
  dialect.comment = "##";
  dialect.trim = true;
  auto csv = Csv("## made by hand, \"1;2\n id ;x; y\n#1;1,5; -999 \n## between\n \"a b\" ; 2 ;-\n##").open(dialect);
  CHECK(csv.header() == std::vector<std::string>{"id", "x", "y"});
  double x = 0.0;
  REQUIRE(csv.next());
  CHECK(csv.line() == 3);
  CHECK(csv.field(0) == "#1");
  CHECK(csv.number(1, &x));
  CHECK(x == 1.5);
  CHECK_FALSE(csv.number(2, &x));
  REQUIRE(csv.next());
  CHECK(csv.line() == 5);
  CHECK(csv.field(0) == "a b");
  CHECK(csv.number(1, &x));
  CHECK(x == 2.0);
  CHECK_FALSE(csv.number(2, &x));
  CHECK_FALSE(csv.next());

  auto dot = Csv("id;x\na;1.5\n").open(dialect);
  REQUIRE(dot.next());
  CHECK_THROWS_WITH(dot.number(1, &x), contains("line 2: column 'x': '1.5' is not a finite number (the decimal sign"));

  dialect = {};
  dialect.separator = ' ';
  CHECK(rows(Csv("a b\n1 2\n").open(dialect)) == Rows{{"1", "2"}});
  dialect.decimal = ' ';
  CHECK_THROWS_WITH(Csv("a b\n").open(dialect), contains("the decimal sign of a table is ' '"));
  dialect = {};
  dialect.decimal = ',';
  CHECK_THROWS_WITH(Csv("a,b\n").open(dialect), contains("the separator and the decimal sign of a table are both ','"));
  dialect.separator = '"';
  CHECK_THROWS_WITH(Csv("a,b\n").open(dialect), contains("expected another character"));
}

TEST_CASE("A header of R that lacks the name of the row names is read where that is asked for") {
  const auto lacking = CsvReader::RowNames::may_lack_header;
  auto csv = Csv("a,b\nr1,1,2\nr2,3,4\n").open({}, lacking);
  CHECK(csv.header() == std::vector<std::string>{"", "a", "b"});
  CHECK(rows(std::move(csv)) == Rows{{"r1", "1", "2"}, {"r2", "3", "4"}});
  CHECK_THROWS_WITH(Csv("a,b\nr1,1,2\n").drain(), contains("line 2: has 3 fields; the header has 2"));
  CHECK_THROWS_WITH(rows(Csv("a,b\nr1,1,2\nr2,3\n").open({}, lacking)),
                    contains("line 3: has 2 fields; the header has 3"));
  // A row that ends with a separator is no row with a name.
  CHECK_THROWS_WITH(rows(Csv("a,b\n1,2,\n").open({}, lacking)), contains("line 2: has 3 fields; the header has 2"));
  CHECK(rows(Csv("a,b\n").open({}, lacking)).empty());
}

TEST_CASE("Rows longer than any buffer are read whole") {
  std::string text = "id,long\n\"";
  std::string field;
  for (int i = 0; i < 300'000; ++i) field += "ab";
  text += field + "\"\"\"," + field + "\nx,y\n";
  CHECK(rows(Csv(text).open()) == Rows{{field + "\"", field}, {"x", "y"}});
}

TEST_CASE("Numbers are exact, missing is missing, and anything else is an error with its place") {
  const Csv file("id,x\na,1.5\nb,\nc,NA\nd,-2e-3\ne,+4\nf,1e999\ng,inf\nh,0x10\ni,1.5.2\nj, 1\nk,0.1\n");
  auto csv = file.open();
  double x = 0.0;
  const auto read = [&] {
    REQUIRE(csv.next());
    return csv.number(1, &x);
  };
  CHECK(read());
  CHECK(x == 1.5);
  CHECK_FALSE(read());
  CHECK_FALSE(read());
  CHECK(read());
  CHECK(x == -2e-3);
  CHECK(read());
  CHECK(x == 4.0);
  CHECK_THROWS_WITH(read(), contains("line 7, column 'x'") || contains("line 7: column 'x': '1e999' is out of range"));
  CHECK_THROWS_WITH(read(), contains("line 8: column 'x': 'inf' is not a finite number"));
  CHECK_THROWS_WITH(read(), contains("'0x10' is not a finite number"));
  CHECK_THROWS_WITH(read(), contains("'1.5.2' is not a finite number"));
  CHECK_THROWS_WITH(read(), contains("' 1' is not a finite number"));
  REQUIRE(csv.next());
  float f = 0.0F;
  CHECK(csv.number(1, &f));
  CHECK(f == 0.1F);
}
