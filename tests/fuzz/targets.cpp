// SPDX-License-Identifier: Apache-2.0
#include "fuzz/targets.hpp"

#include <hdf5.h>
#include <unistd.h>
#include <zlib.h>

#include <cdrzoo/safetensors.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "base/error.hpp"
#include "chem/molecule.hpp"
#include "config/experiment.hpp"
#include "data/dataset_info.hpp"
#include "data/dataset_writer.hpp"
#include "import/csv.hpp"
#include "import/demo.hpp"
#include "import/gmt.hpp"
#include "import/matrix_source.hpp"
#include "import/recipe.hpp"
#include "import/series_matrix.hpp"
#include "split/split.hpp"
#include "support/foreign_hdf5.hpp"
#include "support/small_anndata.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::fuzz {
namespace {

/// Bytes as a file, in memory where the system has a place for that.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) {
    std::string pattern =
        (std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/cdrzoo-fuzz-XXXXXX");
    const int fd = ::mkstemp(pattern.data());
    if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size))
      throw std::runtime_error("cannot write " + pattern);
    ::close(fd);
    path_ = pattern;
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Runs a reader on a file with these bytes; the project's errors are what it is there for.
template <typename Read>
void with_file(const std::uint8_t* data, std::size_t size, const Read& read) {
  const MemoryFile file(data, size);
  try {
    read(file.path());
  } catch (const Error&) {
  }
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

DatasetContent tiny() {
  DemoSpec spec;
  spec.lines = 20;
  spec.patients = 12;
  spec.drugs = 2;
  spec.genes = 8;
  DatasetContent content = make_demo(spec);
  content.perturbations.resize(3);
  content.perturbation_profile.resize(3 * content.genes.size());
  content.deg = {0, 1, 2, 3, 4, -1};
  content.deg_genes = 2;
  content.deg_rule = "made up";
  return content;
}

// --- data sets ---

void run_dataset(const std::uint8_t* data, std::size_t size) {
  with_file(data, size, [](const std::string& path) {
    const Dataset dataset = Dataset::open(path);
    static_cast<void>(validate_dataset(path));
    static_cast<void>(info_text(describe_dataset(dataset), true));
  });
}

/// The file as another program might write it: HDF5's oldest format without checksums, variable-length ids, and a
/// chunked, compressed matrix.
std::string rewritten(const std::filesystem::path& from, const std::filesystem::path& to) {
  const hid_t in = H5Fopen(from.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t out = H5Fcreate(to.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  for (const char* child :
       {"provenance", "caveats", "genes", "tissues", "domains", "samples", "drugs", "responses", "perturbations"}) {
    H5Ocopy(in, child, out, child, H5P_DEFAULT, H5P_DEFAULT);
  }
  for (const char* name : {"format", "format_version", "name"}) {
    const hid_t source = H5Aopen(in, name, H5P_DEFAULT);
    const hid_t type = H5Aget_type(source);
    const hid_t space = H5Aget_space(source);
    const hid_t copy = H5Acreate2(out, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    std::string value(H5Tget_size(type), '\0');
    H5Aread(source, type, value.data());
    H5Awrite(copy, type, value.data());
    for (const hid_t id : {source, copy}) H5Aclose(id);
    H5Tclose(type);
    H5Sclose(space);
  }
  {
    const char* path = "samples/blocks/expression/values";
    const hid_t source = H5Dopen2(in, path, H5P_DEFAULT);
    const hid_t space = H5Dget_space(source);
    hsize_t extent[2] = {};
    H5Sget_simple_extent_dims(space, extent, nullptr);
    std::vector<float> values(extent[0] * extent[1]);
    H5Dread(source, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Ldelete(out, path, H5P_DEFAULT);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk[2] = {7, 5};
    H5Pset_chunk(properties, 2, chunk);
    H5Pset_shuffle(properties);
    H5Pset_deflate(properties, 4);
    const hid_t copy = H5Dcreate2(out, path, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Dwrite(copy, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    const hid_t scalar = H5Screate(H5S_SCALAR);
    const hid_t flag = H5Acreate2(copy, "has_nan", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
    const int zero = 0;
    H5Awrite(flag, H5T_NATIVE_INT, &zero);
    H5Aclose(flag);
    H5Sclose(scalar);
    H5Pclose(properties);
    for (const hid_t id : {source, copy}) H5Dclose(id);
    H5Sclose(space);
  }
  {
    const std::vector<const char*> names = {"G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"};
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    const hsize_t count = names.size();
    const hid_t space = H5Screate_simple(1, &count, nullptr);
    H5Ldelete(out, "drugs/blocks/extra", H5P_DEFAULT);
    const hid_t copy =
        H5Dcreate2(out, "samples/blocks/expression/feature_names", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(copy, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, names.data());
    H5Dclose(copy);
    H5Sclose(space);
    H5Tclose(text);
  }
  H5Fclose(in);
  H5Fclose(out);
  return bytes_of(to);
}

std::vector<std::string> seeds_dataset() {
  const test::TemporaryFolder folder;
  write_dataset(tiny(), folder / "a.h5");
  DatasetContent sparse = tiny();
  const RowMatrix profiles = sparse.profiles();
  SparseRows rows;
  for (std::int64_t i = 0; i < profiles.rows; ++i) rows.append(profiles.dense().row(i), profiles.cols);
  sparse.sparse_profile = std::move(rows);
  sparse.perturbation_profile.clear();
  write_dataset(sparse, folder / "c.h5");
  std::vector<std::string> out = {bytes_of(folder / "a.h5"), rewritten(folder / "a.h5", folder / "b.h5"),
                                  bytes_of(folder / "c.h5")};
  // A seed that does not open would only test the first check.
  for (const auto& seed : out) {
    const MemoryFile file(reinterpret_cast<const std::uint8_t*>(seed.data()), seed.size());
    static_cast<void>(Dataset::open(file.path()));
  }
  return out;
}

// --- CSV ---

void run_csv(const std::uint8_t* data, std::size_t size) {
  with_file(data, size, [](const std::string& path) {
    CsvReader csv(path);
    double sum = 0.0;
    while (csv.next()) {
      for (std::size_t c = 0; c < csv.header().size(); ++c) {
        double value = 0.0;
        if (!csv.field(c).empty() && csv.number(c, &value)) sum += value;
      }
    }
    static_cast<void>(csv.column("id"));
  });
}

std::vector<std::string> seeds_csv() {
  const std::string text = "id,a,\"b,\"\"c\"\n1,2,3\n4,NA,-5e-3\n\"6\",+7,0.125\n";
  std::string zipped(compressBound(static_cast<uLong>(text.size())) + 64, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(zipped.data());
  stream.avail_out = static_cast<uInt>(zipped.size());
  deflate(&stream, Z_FINISH);
  zipped.resize(stream.total_out);
  deflateEnd(&stream);
  return {text, zipped, "id\nx\n", "\xEF\xBB\xBFid,x\r\n\"two\nlines\",1\r\n\r\n"};
}

// --- matrices and gene sets ---

/// Reads everything of a matrix.
void read_matrix(const MatrixSpec& spec) {
  const auto source = open_matrix(spec);
  const auto across = (source->lines() == MatrixSource::Lines::samples ? source->genes() : source->samples()).size();
  double sum = 0.0;
  source->read([&sum, across](std::int64_t, const float* values) {
    for (std::size_t i = 0; i < across; ++i) sum += static_cast<double>(values[i]);
  });
  for (const TextColumns* columns : {&source->sample_annotations(), &source->gene_annotations()}) {
    MemoryTable table(spec.file, "annotations", *columns);
    while (table.next()) static_cast<void>(table.field(columns->names.size() - 1));
  }
  static_cast<void>(source->place_of_sample(0) + source->place_of_gene(0));
}

/// The same from bytes; the names of two samples and three genes for formats that have none.
void run_matrix(const std::uint8_t* data, std::size_t size, const char* format) {
  static const test::TemporaryFolder folder;
  static const bool written = [] {
    std::ofstream(folder / "samples.txt") << "s1\ns2\n";
    std::ofstream(folder / "genes.txt") << "g1\ng2\ng3\n";
    return true;
  }();
  MatrixSpec spec;
  spec.format = format;
  if (written && (spec.format == "npy" || spec.format == "safetensors")) {
    spec.sample_list = folder / "samples.txt";
    spec.gene_list = folder / "genes.txt";
  }
  with_file(data, size, [&spec](const std::string& path) {
    spec.file = path;
    read_matrix(spec);
  });
}

void run_csv_matrix(const std::uint8_t* data, std::size_t size) { run_matrix(data, size, "csv"); }
std::vector<std::string> seeds_csv_matrix() {
  return {",g1,7157,g1\n1,1.5,,3\ns2,NA,-2e-3,+4\n", "\"g1\"\t\"g2\"\r\n\"s1\"\t1\t2\r\n", "g1,g2\ns1,1,2\ns2,3,4\n"};
}

void run_gct(const std::uint8_t* data, std::size_t size) { run_matrix(data, size, "gct"); }
std::vector<std::string> seeds_gct() {
  return {"#1.2\t\n2\t2\nNAME\tDescription\ts1\ts2\np1\tx\t1\t2\np2\ty\t\t-4e1\n",
          "#1.3\n2\t2\t1\t2\nid\tsymbol\tA\tB\ncell\tna\tx\ty\ndose\tna\t10\t-666\np1\tG\t1\t2\np2\tH\tNaN\t4\n"};
}

void run_series_matrix(const std::uint8_t* data, std::size_t size) {
  run_matrix(data, size, "series_matrix");
  with_file(data, size, [](const std::string& path) { static_cast<void>(read_series_samples(path)); });
}
std::vector<std::string> seeds_series_matrix() {
  return {
      "!Series_title\t\"x\"\n\n!Sample_title\t\"a\"\t\"b\"\n!Sample_geo_accession\t\"GSM1\"\t\"GSM2\"\n"
      "!Sample_characteristics_ch1\t\"er: pos\"\t\"age: 41\"\n!Sample_characteristics_ch1\t\"age: 2\"\t\"title: b\"\n"
      "!Sample_title\t\"c\"\t\"d\"\n!series_matrix_table_begin\n\"ID_REF\"\t\"GSM1\"\t\"GSM2\"\n\"p1\"\t1\t\n"
      "\"p2\"\t-3.5\tnull\n!series_matrix_table_end\n"};
}

void run_gmt(const std::uint8_t* data, std::size_t size) {
  with_file(data, size, [](const std::string& path) { static_cast<void>(read_gmt(path)); });
}
std::vector<std::string> seeds_gmt() { return {"A\thttp://x\tTP53\tEGFR\nB\t\tMYC\t\t\n"}; }

void run_npy(const std::uint8_t* data, std::size_t size) { run_matrix(data, size, "npy"); }
std::vector<std::string> seeds_npy() {
  const auto file = [](const std::string& header, std::size_t data_bytes) {
    return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(header.size()) + '\0' + header +
           std::string(data_bytes, '\1');
  };
  return {file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 24),
          file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", 12)};
}

void run_safetensors_matrix(const std::uint8_t* data, std::size_t size) { run_matrix(data, size, "safetensors"); }
std::vector<std::string> seeds_safetensors_matrix() {
  safetensors::Writer writer;
  writer.add("X", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  return {writer.bytes()};
}

// --- recipes and experiments ---

void run_recipe(const std::uint8_t* data, std::size_t size) {
  try {
    static_cast<void>(parse_recipe(std::string(reinterpret_cast<const char*>(data), size), "recipe.toml"));
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds_recipe() {
  return {R"(name = "small"
value_unit = "ln_ic50_um"
caveats = ["made up"]
[genes]
combine = "union"
absent = -1.5
[drugs]
file = "drugs.csv"
where = { a = "b" }
keep_unused = true
[[domain]]
name = "lines"
expression_unit = "log2"
expression = { file = "x.csv", id = "id" }
samples = { file = "samples.csv", id = "id", tissue = "site", group = "patient" }
steps = [{ step = "clip", low = -2, high = 1e3 }, { step = "fill_missing", with = "constant", value = 0 }, { step = "zscore" }]
[domain.response]
file = "r.csv"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
match = "group"
value = "ic50"
label = "resp"
unknown_samples = "drop"
replicates = "mean"
)"};
}

void run_experiment(const std::uint8_t* data, std::size_t size) {
  with_file(data, size, [](const std::string& path) { static_cast<void>(load_experiment(path)); });
}

std::vector<std::string> seeds_experiment() {
  return {R"(name = "demo"
dataset = "demo.h5"
task = "binary"
seeds = [0, 1]
[label]
rule = "per_drug_median"
[split]
kind = "lco"
folds = 5
seed = 0
[run]
jobs = 2
threads = 1
timeout_s = 600
memory_mb = 4000
[report]
reference = "baseline.drug_mean"
metrics = ["per_drug:auroc"]
[[model]]
id = "baseline.ridge"
params = { lambda = 1000.0 }
)"};
}

// --- safetensors ---

void run_safetensors(const std::uint8_t* data, std::size_t size) {
  try {
    static_cast<void>(safetensors::Archive::parse(data, size, "fuzz"));
  } catch (const safetensors::Error&) {
  }
}

std::vector<std::string> seeds_safetensors() {
  const auto file = [](const std::string& header, std::size_t bytes) {
    std::string out;
    for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
    return out + header + std::string(bytes, '\1');
  };
  return {
      file(
          R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I64","shape":[],"data_offsets":[24,32]},"c":{"dtype":"U8","shape":[0,4],"data_offsets":[32,32]}})",
          32),
      file("{}", 0)};
}

// --- splits ---

const Dataset& split_dataset() {
  static const test::TemporaryFolder folder;
  static const Dataset dataset = [] {
    write_dataset(tiny(), folder / "d.h5");
    return Dataset::open(folder / "d.h5");
  }();
  return dataset;
}

void run_split(const std::uint8_t* data, std::size_t size) {
  const Dataset& dataset = split_dataset();
  with_file(data, size, [&dataset](const std::string& path) { static_cast<void>(read_split(path, dataset)); });
}

std::vector<std::string> seeds_split() {
  const Dataset& dataset = split_dataset();
  std::vector<std::int32_t> rows;
  for (std::int32_t i = 0; i < dataset.responses.size(); ++i) {
    if (dataset.responses.label[static_cast<std::size_t>(i)] < 0) rows.push_back(i);
  }
  SplitSpec spec;
  spec.kind = "lpo";
  spec.folds = 2;
  const test::TemporaryFolder folder;
  write_split(make_split(dataset, spec, rows), folder / "s.json");
  return {bytes_of(folder / "s.json")};
}

// --- structures ---

void run_smiles(const std::uint8_t* data, std::size_t size) {
  if (size > 300) return;  // some of RDKit's algorithms are exponential; the builder's texts are short
  std::string reason;
  static_cast<void>(read_molecule(std::string(reinterpret_cast<const char*>(data), size), &reason));
}

std::vector<std::string> seeds_smiles() {
  return {"COCCOc1cc2ncnc(Nc3cccc(C#C)c3)c2cc1OCCOC",
          "CC(C)C[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)c1cnccn1)B(O)O",
          "CC(=O)[O-].[Na+]",
          "C/C=C/C",
          "[13C@@H](F)(Cl)Br",
          "C%12CCCC%12"};
}

// --- foreign HDF5 files ---

/// The HDF5 library itself does not survive arbitrary bytes, which is why such files are read in a child process. Here
/// the input says which numbers of a valid file change: 4 bytes each of a place and 8 of a value.
void run_anndata(const std::uint8_t* data, std::size_t size) {
  static const std::string small = [] {
    const test::TemporaryFolder folder;
    test::write_small_anndata(folder / "x.h5ad");
    {
      test::ForeignHdf5 f(folder / "x.h5ad", test::ForeignHdf5::Mode::edit);
      test::put_csc(f, "/layers/csc");
      f.numbers<std::int64_t>("/obs/masked/values", {4, 5, 6});
      f.numbers<std::int8_t>("/obs/masked/mask", {0, 1, 0});
      f.attribute("/obs/masked", "encoding-type", std::string("nullable-integer"));
      f.attribute("/obs", "column-order", std::vector<std::string>{"batch", "masked"});
    }
    return bytes_of(folder / "x.h5ad");
  }();
  struct Place {
    const char* object;
    hsize_t count;
  };
  constexpr Place kPlaces[] = {{"/X/indptr", 4},          {"/X/indices", 5},          {"/X/data", 5},
                               {"/layers/csc/indptr", 5}, {"/layers/csc/indices", 5}, {"/obs/batch/codes", 3},
                               {"/obs/masked/mask", 3},   {"/obs/masked/values", 3}};
  const auto run = [&](const std::string& path) {
    {
      test::ForeignHdf5 f(path, test::ForeignHdf5::Mode::edit);
      for (constexpr std::size_t kEdit = 12; size >= kEdit; data += kEdit, size -= kEdit) {
        std::int64_t value = 0;
        std::memcpy(&value, data + 4, sizeof value);
        const std::size_t which = data[0] % (std::size(kPlaces) + 1);
        if (which == std::size(kPlaces)) {
          f.attribute("/X", "shape", std::vector<std::int64_t>{data[1] % 8, value});
        } else {
          f.poke(kPlaces[which].object, data[1] % kPlaces[which].count, value);
        }
      }
    }
    for (const char* layer : {"X", "layers/csc"}) {
      MatrixSpec spec;
      spec.file = path;
      spec.format = "h5ad";
      spec.layer = layer;
      read_matrix(spec);
    }
  };
  with_file(reinterpret_cast<const std::uint8_t*>(small.data()), small.size(), run);
}

std::vector<std::string> seeds_anndata() {
  return {std::string(12, '\0'), std::string("\1\1\0\0\2\0\0\0\0\0\0\0\5\0\0\0\1\0\0\0\0\0\0\0", 24),
          std::string("\10\3\0\0\4\0\0\0\0\0\0\0", 12)};
}

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {{"dataset", run_dataset, seeds_dataset},
                                          {"anndata", run_anndata, seeds_anndata},
                                          {"csv", run_csv, seeds_csv},
                                          {"csv_matrix", run_csv_matrix, seeds_csv_matrix},
                                          {"gct", run_gct, seeds_gct},
                                          {"series_matrix", run_series_matrix, seeds_series_matrix},
                                          {"gmt", run_gmt, seeds_gmt},
                                          {"npy", run_npy, seeds_npy},
                                          {"safetensors_matrix", run_safetensors_matrix, seeds_safetensors_matrix},
                                          {"recipe", run_recipe, seeds_recipe},
                                          {"experiment", run_experiment, seeds_experiment},
                                          {"safetensors", run_safetensors, seeds_safetensors},
                                          {"split", run_split, seeds_split},
                                          {"smiles", run_smiles, seeds_smiles}};
  return all;
}

}  // namespace cdrzoo::fuzz
