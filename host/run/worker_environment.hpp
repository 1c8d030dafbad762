// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cdrzoo {

/// Instruction sets of the running CPU that decide which BLAS kernels suit it, as the system lets programs use them.
struct CpuFeatures {
  bool avx2 = false;    ///< AVX2 and FMA
  bool avx512 = false;  ///< AVX-512 F, DQ, BW, VL and CD: the set that SkylakeX kernels need
  std::string model;    ///< the CPU's own name, for records only
};
[[nodiscard]] CpuFeatures detect_cpu();

/// The folder of the build of OpenBLAS whose threads are OpenMP's (Debian: libopenblas0-openmp), below \p libraries; ""
/// where it is not installed.
[[nodiscard]] std::filesystem::path find_openmp_blas(const std::filesystem::path& libraries);

/// What of the machine decides about a worker's environment.
struct Machine {
  CpuFeatures cpu;
  std::filesystem::path openmp_blas;  ///< "" if there is none
};
[[nodiscard]] Machine detect_machine();

/// The value for OPENBLAS_CORETYPE, "" to leave the choice to OpenBLAS. By features, never by the name of a machine:
/// distributions ship releases of OpenBLAS that do not know newer CPUs and take kernels at half the speed there.
[[nodiscard]] std::string openblas_core_type(const CpuFeatures& cpu);

/// The whole environment of a worker. Nothing else of the caller's environment reaches a plugin, so that a result does
/// not depend on the shell that started the run.
struct WorkerEnvironment {
  std::map<std::string, std::string> variables;
  /// What of it was chosen here or by the user and may change results or speed:
  /// {"variables": {name: value}, "from_user": [names], "cpu": {"model", "avx2", "avx512"}}.
  nlohmann::json record;
  std::vector<std::string> warnings;  ///< one sentence each

  [[nodiscard]] std::vector<std::string> strings() const;  ///< "NAME=value"
};

/// Passed through as they are: PATH, TZ, CUDA_*, NVIDIA_*, HIP_*, ROCR_*, the sanitizers' options, and what
/// CDRZOO_WORKER_ENV names (comma-separated). Set: the thread budget (OMP_, OPENBLAS_, MKL_NUM_THREADS), passive
/// waiting (OMP_WAIT_POLICY, GOMP_SPINCOUNT), OPENBLAS_CORETYPE, LC_ALL=C, HOME and TMPDIR in \p scratch.
/// LD_LIBRARY_PATH is the caller's, then the folder of OpenBLAS with OpenMP's threads: those of its other build take
/// the cores from OpenMP's. A variable of the thread and BLAS family that the caller's environment holds already is
/// respected and recorded as the user's; thread counts above the budget are not, because the budget is a promise to the
/// other workers. \param caller the caller's environment as name to value
[[nodiscard]] WorkerEnvironment make_worker_environment(int threads, const std::filesystem::path& scratch,
                                                        const Machine& machine,
                                                        const std::map<std::string, std::string>& caller);

/// This process's environment as a map.
[[nodiscard]] std::map<std::string, std::string> caller_environment();

}  // namespace cdrzoo
