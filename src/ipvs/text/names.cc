// SPDX-License-Identifier: Apache-2.0
// gethostbyname(3) and its relatives rather than getaddrinfo(3): the latter sorts addresses by RFC 6724, while "the
// first address" is that of the hosts file or the name server here.
#include "ipvs/text/names.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace sluice::ipvs::text {
namespace {

// The services file lists protocols by name; ports of others have none.
const char* services_database(std::uint16_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_SCTP:
      return "sctp";
    default:
      return nullptr;
  }
}

}  // namespace

std::optional<IpAddress> SystemNames::host_address(const std::string& name) {
  const hostent* host = ::gethostbyname(name.c_str());
  if (host == nullptr || host->h_addrtype != AF_INET || host->h_addr_list[0] == nullptr) return std::nullopt;
  in_addr address{};
  std::memcpy(&address, host->h_addr_list[0], sizeof address);
  return IpAddress::from_v4(ntohl(address.s_addr));
}

std::optional<std::uint16_t> SystemNames::service_port(const std::string& name, std::uint16_t protocol) {
  const char* database = services_database(protocol);
  const servent* service = database == nullptr ? nullptr : ::getservbyname(name.c_str(), database);
  if (service == nullptr) return std::nullopt;
  return ntohs(static_cast<std::uint16_t>(service->s_port));
}

std::optional<std::string> SystemNames::host_name(Family family, const IpAddress& address) {
  const bool ipv6 = family == Family::kIPv6;
  const auto* bytes = address.mapped_bytes().data();
  const hostent* host = ipv6 ? ::gethostbyaddr(bytes, 16, AF_INET6) : ::gethostbyaddr(bytes + 12, 4, AF_INET);
  if (host == nullptr) return std::nullopt;
  return host->h_name;
}

std::optional<std::string> SystemNames::service_name(std::uint16_t port, std::uint16_t protocol) {
  const char* database = services_database(protocol);
  const servent* service = database == nullptr ? nullptr : ::getservbyport(htons(port), database);
  if (service == nullptr) return std::nullopt;
  return service->s_name;
}

}  // namespace sluice::ipvs::text
