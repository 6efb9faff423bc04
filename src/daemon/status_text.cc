// SPDX-License-Identifier: Apache-2.0
// An operator asks three things of a node's proxy: does it hear of changes, is the kernel as it wants it, and where
// does this Service go? The first lines answer the first two, the table the third. Example of its rows:
//
//   default/web               TCP   10.104.247.10:80  *:31947        10.244.169.161:80 10.244.169.163:80
#include "daemon/status_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/json.h"

namespace sluice::daemon {
namespace {

constexpr std::size_t kDifferencesShown = 20;

std::string age(Clock::WallTime then, Clock::WallTime now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

const sync::FamilyComparison* comparison_of(const std::vector<sync::FamilyComparison>& comparisons, Family family) {
  const auto found =
      std::find_if(comparisons.begin(), comparisons.end(), [&](const auto& c) { return c.family == family; });
  return found == comparisons.end() ? nullptr : &*found;
}

// 0 where the family serves as wanted.
int family_exit_status(const sync::FamilyStatus& family, const sync::FamilyComparison* comparison) {
  if (!family.synced || !family.last_error.empty()) return 1;
  return comparison != nullptr && comparison->difference && comparison->difference->empty() ? 0 : 1;
}

std::string comparison_words(const sync::FamilyComparison* comparison) {
  if (comparison == nullptr) return "live was not compared";
  if (!comparison->difference) return "live cannot be compared: " + comparison->difference.error().what;
  if (comparison->difference->empty()) return "live equals wanted";
  return fmt::format("live differs from wanted: {} missing, {} unexpected", comparison->difference->missing.size(),
                     comparison->difference->unexpected.size());
}

void append_lines(std::string& out, const char* sign, const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < std::min(lines.size(), kDifferencesShown); ++i)
    out += fmt::format("    {} {}\n", sign, lines[i]);
  if (lines.size() > kDifferencesShown)
    out += fmt::format("    {} and {} more\n", sign, lines.size() - kDifferencesShown);
}

void append_family(std::string& out, const sync::FamilyStatus& family, const sync::FamilyComparison* comparison,
                   Clock::WallTime now) {
  const std::string when =
      family.last_sync ? fmt::format("synced {} ago", age(*family.last_sync, now)) : "not synced yet";
  out += fmt::format("{}: {} Service ports, {} real servers; {}, {}\n", to_string(family.family), family.service_ports,
                     family.real_servers, when, comparison_words(comparison));
  if (!family.last_error.empty()) out += fmt::format("    last sync failed: {}\n", family.last_error);
  if (family.changes_waiting > 0)
    out += fmt::format("    {} Service ports wait to be programmed\n", family.changes_waiting);
  if (comparison != nullptr && comparison->difference) {
    append_lines(out, "-", comparison->difference->missing);
    append_lines(out, "+", comparison->difference->unexpected);
  }
}

struct Row {
  std::string name;
  std::string protocol;
  std::string frontends;
  std::string real_servers;
};

std::string real_server_words(const sync::ServedPort& port) {
  if (port.real_servers.empty()) return "(none: refused)";
  std::string words;
  for (const plan::RealServer& server : port.real_servers) {
    if (!words.empty()) words += ' ';
    words += server.to_string();
    // Where policies differ by client, say whose choice a real server is.
    if (port.internal_local || port.external_local)
      words += server.in_local_pool ? (server.in_cluster_pool ? "" : "(local)") : "(cluster)";
  }
  return words;
}

Row make_row(const sync::ServedPort& port) {
  Row row{.name = port.name,
          .protocol = std::string(to_string(port.protocol)),
          .frontends = {},
          .real_servers = real_server_words(port)};
  for (const sync::ServedFrontend& frontend : port.frontends)
    row.frontends += (row.frontends.empty() ? "" : "  ") + frontend.address;
  return row;
}

void append_table(std::string& out, const std::vector<sync::ServedPort>& served) {
  std::vector<Row> rows{{"SERVICE PORT", "PROTO", "ADDRESSES", "REAL SERVERS"}};
  std::transform(served.begin(), served.end(), std::back_inserter(rows), make_row);
  std::size_t name_width = 0;
  std::size_t frontends_width = 0;
  for (const Row& row : rows) {
    name_width = std::max(name_width, row.name.size());
    frontends_width = std::max(frontends_width, row.frontends.size());
  }
  for (const Row& row : rows)
    out += fmt::format("{:<{}}  {:<5}  {:<{}}  {}\n", row.name, name_width, row.protocol, row.frontends,
                       frontends_width, row.real_servers);
}

template <typename Range, typename Element>
std::string json_array(const Range& range, Element element) {
  std::string out = "[";
  for (const auto& item : range) out += (out.size() > 1 ? "," : "") + element(item);
  return out + "]";
}

std::string family_json(const sync::FamilyStatus& family, const sync::FamilyComparison* comparison) {
  const auto seconds = [](const std::optional<Clock::WallTime>& time) {
    return time ? fmt::format("{:.3f}", std::chrono::duration<double>(time->time_since_epoch()).count())
                : std::string("null");
  };
  std::string live = "null";
  if (comparison != nullptr && comparison->difference) {
    live = fmt::format(R"({{"equalsWanted":{},"missing":{},"unexpected":{}}})", comparison->difference->empty(),
                       json_array(comparison->difference->missing, json_string),
                       json_array(comparison->difference->unexpected, json_string));
  }
  return fmt::format(
      R"({{"family":"{}","dataPlane":{},"synced":{},"lastSync":{},"lastError":{},"servicePorts":{},"realServers":{},"changesWaiting":{},)"
      R"("fullSyncs":{},"partialSyncs":{},"failedSyncs":{},"driftRepairs":{},"live":{}}})",
      to_string(family.family), json_string(family.data_plane), family.synced, seconds(family.last_sync),
      json_string(family.last_error), family.service_ports, family.real_servers, family.changes_waiting,
      family.full_syncs, family.partial_syncs, family.failed_syncs, family.drift_repairs, live);
}

std::string port_json(const sync::ServedPort& port) {
  const auto frontend = [](const sync::ServedFrontend& f) { return json_string(f.address); };
  const auto server = [](const plan::RealServer& s) {
    return fmt::format(R"({{"address":{},"onThisNode":{},"clusterPool":{},"localPool":{}}})",
                       json_string(s.to_string()), s.on_this_node, s.in_cluster_pool, s.in_local_pool);
  };
  return fmt::format(R"({{"name":{},"protocol":"{}","family":"{}","addresses":{},"realServers":{}}})",
                     json_string(port.name), to_string(port.protocol), to_string(port.family),
                     json_array(port.frontends, frontend), json_array(port.real_servers, server));
}

int exit_status(const sync::LoopStatus& status, const std::vector<sync::FamilyComparison>& comparisons) {
  if (!status.lists_complete || status.families.empty()) return 1;
  return std::any_of(status.families.begin(), status.families.end(),
                     [&](const auto& f) { return family_exit_status(f, comparison_of(comparisons, f.family)) != 0; })
             ? 1
             : 0;
}

}  // namespace

StatusAnswer status_text(const DaemonFacts& facts, const sync::LoopStatus& status,
                         const std::vector<sync::FamilyComparison>& comparisons, Clock::WallTime now) {
  std::string out = fmt::format("Sluice {}, mode {} ({}), node {}, up {}\n", SLUICE_VERSION, facts.mode, facts.flavour,
                                facts.node_name, age(facts.started, now));
  out += fmt::format("{}: {} Services, {} EndpointSlices{}{}\n", facts.source, status.services, status.slices,
                     status.zone.empty() ? "" : ", zone " + status.zone,
                     status.lists_complete ? "" : "; the first list is not complete yet");
  for (const sync::FamilyStatus& family : status.families)
    append_family(out, family, comparison_of(comparisons, family.family), now);
  if (!status.served.empty()) {
    out += '\n';
    append_table(out, status.served);
  }
  return {exit_status(status, comparisons), out};
}

StatusAnswer status_json(const DaemonFacts& facts, const sync::LoopStatus& status,
                         const std::vector<sync::FamilyComparison>& comparisons, Clock::WallTime now) {
  const auto family = [&](const sync::FamilyStatus& f) { return family_json(f, comparison_of(comparisons, f.family)); };
  std::string out = fmt::format(
      R"({{"version":"{}","mode":"{}","flavour":"{}","node":{},"source":{},"upSeconds":{:.0f},"listsComplete":{},"services":{},"slices":{},)"
      R"("zone":{},"families":{},"served":{}}})",
      SLUICE_VERSION, facts.mode, facts.flavour, json_string(facts.node_name), json_string(facts.source),
      std::chrono::duration<double>(now - facts.started).count(), status.lists_complete, status.services, status.slices,
      json_string(status.zone), json_array(status.families, family), json_array(status.served, port_json));
  return {exit_status(status, comparisons), out + "\n"};
}

}  // namespace sluice::daemon
