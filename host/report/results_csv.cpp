// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/csv_field.hpp"
#include "base/files.hpp"
#include "report/comparison.hpp"
#include "report/report.hpp"

namespace cdrzoo {

void write_results_csv(const std::vector<ResultRow>& rows, const std::filesystem::path& path) {
  std::string text =
      "run,model,name,version,variant,params,dataset,task,split,split_hash,repeat,fold,seed,level,metric,value,n,"
      "groups_valid,groups_total,coverage_rule,flags,status,message,seconds,key\n";
  for (const ResultRow& r : rows) {
    for (const std::string* field :
         {&r.run, &r.model, &r.name, &r.version, &r.variant, &r.params, &r.dataset, &r.task, &r.split, &r.split_hash}) {
      text += csv_field(*field) + ',';
    }
    text += std::to_string(r.repeat) + ',' + std::to_string(r.fold) + ',' + std::to_string(r.seed) + ',';
    text += csv_field(r.level) + ',' + csv_field(r.metric) + ',';
    text += (r.metric.empty() ? "" : shortest(r.value)) + ',' + std::to_string(r.n) + ',';
    text += std::to_string(r.groups_valid) + ',' + std::to_string(r.groups_total) + ',';
    for (const std::string* field : {&r.coverage_rule, &r.flags, &r.status, &r.message})
      text += csv_field(*field) + ',';
    text += (std::isnan(r.seconds) ? "" : shortest(r.seconds)) + ',' + r.key + '\n';
  }
  write_file_atomically(path, text);
}

}  // namespace cdrzoo
