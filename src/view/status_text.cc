// SPDX-License-Identifier: Apache-2.0
// An operator asks three questions about a node's proxy: does it get changes, does the kernel match them, and where
// does this Service go? The first lines are about the first two, the table about the third. Example of its rows:
//
//   default/web               TCP   10.104.247.10:80  *:31947        10.244.169.161:80 10.244.169.163:80
//
// A terminal is some 100 to 200 characters wide and a Service may have thousands of endpoints, so a cell holds the
// first few and the number of the others, and no column is padded beyond a bound: a long cell moves the rest of
// its own row and nothing else.
#include "view/status_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

namespace sluice::view {
namespace {

constexpr std::size_t kLinesShown = 20;  // of differences and refusals
constexpr std::size_t kItemsShown = 3;   // of a cell
constexpr std::size_t kNameWidthMax = 40;
constexpr std::size_t kAddressesWidthMax = 48;

std::string age(Clock::WallTime then, Clock::WallTime now) {
  const auto passed = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
  const auto seconds = std::max<decltype(passed)>(0, passed);  // the clock may have been set back
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

std::string counted(std::size_t count, std::string_view singular) {
  return fmt::format("{} {}{}", count, singular, count == 1 ? "" : "s");
}

void append_lines(std::string& out, std::string_view sign, const std::vector<std::string>& lines, Width width) {
  const std::size_t shown = width == Width::kWide ? lines.size() : std::min(lines.size(), kLinesShown);
  for (std::size_t i = 0; i < shown; ++i) out += fmt::format("    {} {}\n", sign, lines[i]);
  if (lines.size() > shown) out += fmt::format("    {} and {} more\n", sign, lines.size() - shown);
}

std::vector<std::string> refusal_lines(const std::vector<dataplane::Refusal>& refusals) {
  std::vector<std::string> lines;
  for (const dataplane::Refusal& refusal : refusals) {
    lines.push_back(fmt::format("{} {} {}: {}", refusal.port.printed_name(), to_string(refusal.port.protocol),
                                plan::to_string(refusal.frontend), refusal.reason));
  }
  return lines;
}

std::vector<std::string> unmet_request_lines(const std::vector<dataplane::UnmetRequest>& unmet) {
  std::vector<std::string> lines;
  for (const dataplane::UnmetRequest& each : unmet)
    lines.push_back(fmt::format("{}: {}", each.service.to_string(), each.why));
  return lines;
}

std::vector<std::string> refused_port_lines(const std::vector<sync::RefusedPortStatus>& refused, Clock::WallTime now) {
  std::vector<std::string> lines;
  for (const sync::RefusedPortStatus& each : refused) {
    lines.push_back(fmt::format("{} {} for {}, tried {}: {}", each.port.printed_name(), to_string(each.port.protocol),
                                age(each.since, now), counted(each.attempts, "time"), each.reason));
  }
  return lines;
}

void append_family(std::string& out, const FamilyView& family, Width width, Clock::WallTime now) {
  const sync::FamilyStatus& status = family.status;
  const std::string when =
      status.last_sync ? fmt::format("synced {} ago", age(*status.last_sync, now)) : "not synced yet";
  out += fmt::format("{}: {}, {}; {}, {}\n", to_string(status.family), counted(status.service_ports, "Service port"),
                     counted(status.real_servers, "real server"), when, comparison_words(family));
  if (!status.last_error.empty()) out += fmt::format("    last sync failed: {}\n", status.last_error);
  if (status.changes_waiting > 0)
    out += fmt::format("    waiting to be programmed: {}\n", counted(status.changes_waiting, "Service port"));
  append_lines(out, "refused:", refusal_lines(status.refusals), width);
  append_lines(out, "refused by the kernel:", refused_port_lines(status.refused_ports, now), width);
  append_lines(out, "requested but not supported:", unmet_request_lines(status.unmet_requests), width);
  append_lines(out, "not removed by the kernel:", status.unremoved, width);
  for (const sync::PlaneStage& plane : status.planes) {
    if (plane.stage != sync::Stage::kServing)
      out += fmt::format("    data plane {}: {}\n", plane.name, to_string(plane.stage));
  }
  if (width == Width::kWide) {
    for (const dataplane::Limitation& each : status.capabilities.lacks)
      out += fmt::format("    cannot do {}: {}\n", to_string(each.gap), each.why);
  }
  append_lines(out, "-", family.difference.missing, width);
  append_lines(out, "+", family.difference.unexpected, width);
}

// ---- the table

constexpr std::size_t kColumns = 4;
using Cells = std::array<std::vector<std::string>, kColumns>;  // each with its items

std::vector<std::string> address_items(const ServedPort& port) {
  std::vector<std::string> items;
  for (const ServedAddress& each : port.addresses)
    items.push_back(each.refused.empty() ? each.address : each.address + " (refused)");
  return items;
}

std::vector<std::string> real_server_items(const ServedPort& port) {
  std::vector<std::string> items;
  // Its reason is shown above. What of the port is live is not known.
  if (!port.refused.empty()) items.emplace_back("(refused by the kernel)");
  if (port.real_servers.empty())
    items.emplace_back(port.has_endpoints ? "(none on this node: dropped)" : "(none: rejected)");
  for (const plan::RealServer& server : port.real_servers) {
    std::string item = server.to_string();
    // If policies differ by client, show which one selects a real server.
    if (port.internal_local || port.external_local)
      item += server.in_local_pool ? (server.in_cluster_pool ? "" : "(local)") : "(cluster)";
    items.push_back(std::move(item));
  }
  return items;
}

Cells cells_of(const ServedPort& port) {
  return {std::vector<std::string>{port.name},
          {std::string(to_string(port.protocol))},
          address_items(port),
          real_server_items(port)};
}

// The lines of one row: one if long lists are cut, else as many as its longest list has items.
std::vector<std::array<std::string, kColumns>> lines_of(Cells cells, Width width) {
  std::size_t height = 1;
  for (std::vector<std::string>& items : cells) {
    if (width == Width::kWide) {
      height = std::max(height, items.size());
      continue;
    }
    std::string line;
    for (std::size_t i = 0; i < std::min(items.size(), kItemsShown); ++i) line += (i == 0 ? "" : "  ") + items[i];
    if (items.size() > kItemsShown) line += fmt::format("  and {} more", items.size() - kItemsShown);
    items = {line};
  }
  std::vector<std::array<std::string, kColumns>> lines(height);
  for (std::size_t column = 0; column < kColumns; ++column) {
    for (std::size_t i = 0; i < cells[column].size(); ++i) lines[i][column] = std::move(cells[column][i]);
  }
  return lines;
}

void append_table(std::string& out, const std::vector<ServedPort>& served, Width width) {
  std::vector<std::array<std::string, kColumns>> rows{{"SERVICE PORT", "PROTO", "ADDRESSES", "REAL SERVERS"}};
  for (const ServedPort& port : served) {
    auto lines = lines_of(cells_of(port), width);
    std::move(lines.begin(), lines.end(), std::back_inserter(rows));
  }
  std::size_t name_width = 0;
  std::size_t addresses_width = 0;
  for (const auto& row : rows) {
    name_width = std::max(name_width, std::min(row[0].size(), kNameWidthMax));
    addresses_width = std::max(addresses_width, std::min(row[2].size(), kAddressesWidthMax));
  }
  for (const auto& row : rows) {
    std::string line =
        fmt::format("{:<{}}  {:<5}  {:<{}}  {}", row[0], name_width, row[1], row[2], addresses_width, row[3]);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
}

// Once for the families that share the programs, whose counts each of them has read at another time.
void append_kernel_work(std::string& out, const std::vector<FamilyView>& families) {
  std::set<std::string> shown;
  for (const FamilyView& family : families) {
    if (!family.status.kernel_work || !shown.insert(family.status.data_plane).second) continue;
    for (const std::string& line : family.status.kernel_work->lines)
      out += fmt::format("{}: {}\n", family.status.data_plane, line);
  }
}

std::string head(const Status& status, Clock::WallTime now) {
  const ProcessFacts& process = status.process;
  std::string out = fmt::format("Sluice {}, pid {}", SLUICE_VERSION, process.pid);
  if (!process.mode.empty()) out += ", mode " + process.mode;
  if (!process.flavour.empty()) out += fmt::format(" ({})", process.flavour);
  if (!process.node_name.empty()) out += ", node " + process.node_name;
  return out + fmt::format(", up {}\n", age(process.started, now));
}

std::string source_line(const Status& status) {
  if (status.process.source.empty()) return "";
  if (!status.started) return status.process.source + "\n";
  return fmt::format("{}: {}, {}{}{}\n", status.process.source, counted(status.services, "Service"),
                     counted(status.slices, "EndpointSlice"), status.zone.empty() ? "" : ", zone " + status.zone,
                     status.lists_complete ? "" : "; the first list is not complete yet");
}

}  // namespace

std::string comparison_words(const FamilyView& family) {
  if (!family.compare_error.empty()) return "live cannot be compared: " + family.compare_error;
  if (!family.compared) return "live was not compared";
  if (family.difference.empty()) return "live equals wanted";
  return fmt::format("live differs from wanted: {} missing, {} unexpected", family.difference.missing.size(),
                     family.difference.unexpected.size());
}

std::string status_text(const Status& status, Width width, Clock::WallTime now) {
  std::string out = head(status, now) + source_line(status);
  for (const Wait& wait : status.waits) {
    out += fmt::format("waiting for {} for {}{}{}\n", wait.what, age(wait.since, now), wait.why.empty() ? "" : ": ",
                       wait.why);
  }
  for (const FamilyView& family : status.families) append_family(out, family, width, now);
  append_kernel_work(out, status.families);
  if (!status.served.empty()) {
    out += '\n';
    append_table(out, status.served, width);
  }
  return out;
}

}  // namespace sluice::view
