// SPDX-License-Identifier: Apache-2.0
// A virtual server on a Service's address is recognised by kube-ipvs0, which carries that address, or by the helper
// table, which lists it; without either, only our file has it. A virtual server for a node port is on an address of
// the node, like any that an administrator may have made by hand; only its port differs. A file has one entry
// a line, "tcp 30080" or "10.96.0.1", in a folder that a reboot empties as it empties the engine's table (/run).
#include "dataplane/ipvs/record.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "sys/state_folder.h"

namespace sluice::dataplane::ipvs {
namespace {

constexpr std::array kProtocols{Protocol::kTcp, Protocol::kUdp, Protocol::kSctp};

const char* file_name(const NodePort* /*kind*/) {
  return "ipvs-node-ports";
}
const char* file_name(const IpAddress* /*kind*/) {
  return "ipvs-addresses";
}

std::string line_of(const NodePort& port) {
  return fmt::format("{} {}\n", lower_name(port.protocol), port.port);
}
std::string line_of(const IpAddress& address) {
  return address.to_string() + "\n";
}

std::optional<NodePort> read_line(const std::string& line, const NodePort* /*kind*/) {
  std::istringstream words(line);
  std::string protocol;
  unsigned port = 0;
  if (!(words >> protocol >> port) || port == 0 || port > 65535) return std::nullopt;
  const auto* known =
      std::find_if(kProtocols.begin(), kProtocols.end(), [&](Protocol each) { return lower_name(each) == protocol; });
  if (known == kProtocols.end()) return std::nullopt;
  return NodePort{*known, static_cast<std::uint16_t>(port)};
}
std::optional<IpAddress> read_line(const std::string& line, const IpAddress* /*kind*/) {
  return IpAddress::parse(line);
}

}  // namespace

template <typename T>
Record<T>::Record(const std::string& folder, Family family) {
  constexpr const T* kKind = nullptr;
  if (folder.empty()) return;
  path_ = fmt::format("{}/{}-{}", folder, file_name(kKind), family == Family::kIPv4 ? "ipv4" : "ipv6");
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    if (auto entry = read_line(line, kKind)) recorded_.insert(*std::move(entry));
  }
}

template <typename T>
Result<> Record<T>::write(const std::set<T>& wanted) {
  if (path_.empty() || wanted == recorded_) return {};
  std::string text;
  for (const T& each : wanted) text += line_of(each);
  SLUICE_CHECK_OK(sys::write_state_file(path_, text));
  recorded_ = wanted;
  return {};
}

template <typename T>
bool Record<T>::exists() const {
  return !path_.empty() && ::access(path_.c_str(), F_OK) == 0;
}

template <typename T>
Result<> Record<T>::before(const std::set<T>& wanted) {
  std::set<T> both = recorded_;
  both.insert(wanted.begin(), wanted.end());
  return write(both);
}

template <typename T>
Result<> Record<T>::after(const std::set<T>& wanted) {
  return write(wanted);
}

template <typename T>
Result<> Record<T>::remove() {
  if (!path_.empty() && ::unlink(path_.c_str()) != 0 && errno != ENOENT)
    return fail(Errc::kInternal, fmt::format("remove {}: {}", path_, std::strerror(errno)), errno);
  recorded_.clear();
  return {};
}

template class Record<NodePort>;
template class Record<IpAddress>;

}  // namespace sluice::dataplane::ipvs
