// SPDX-License-Identifier: Apache-2.0
// What layouts of an nftables table cost the kernel: to load, in memory, to change by one endpoint, and per new
// connection. Run as root; it works in network namespaces of its own. The decision is docs/adr/0025-flat-nftables.md.
//
// usage: nft_layouts [SERVICES [ENDPOINTS]]
//        nft_layouts ranges [SERVICES [RANGES]]
#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/socket.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "sys/nf_tables.h"
#include "sys/process.h"

namespace {

using namespace sluice;  // a program, not a header
using sys::NftBatch;
using sys::NftElement;
using sys::NftField;
using sys::NftRule;
using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr const char* kTable = "layout";
constexpr std::uint16_t kPort = 80;
constexpr auto kGoto = static_cast<std::uint32_t>(NFT_GOTO);

struct Size {
  unsigned services;
  unsigned endpoints;
};

[[noreturn]] void fail_with(const std::string& what) {
  fmt::print(stderr, "nft_layouts: {}\n", what);
  std::exit(1);
}

void must(const Result<>& result) {
  if (!result) fail_with(result.error().what);
}

void append(Bytes& bytes, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}
void append_mark(Bytes& bytes, std::uint32_t value) {
  std::array<std::uint8_t, 4> four{};
  std::memcpy(four.data(), &value, 4);
  bytes.insert(bytes.end(), four.begin(), four.end());
}
std::uint32_t service_address(unsigned service) {
  return 0x0a600000U + service + 256;
}
Bytes key_of(unsigned service) {
  Bytes key;
  append(key, service_address(service));
  key.insert(key.end(), {IPPROTO_UDP, 0, 0, 0, 0, kPort, 0, 0});
  return key;
}
Bytes endpoint(unsigned service, unsigned number) {
  Bytes value;
  append(value, 0x0a800000U + service * 64 + number);
  value.insert(value.end(), {0x1f, 0x90, 0, 0});
  return value;
}
NftElement slot_of(unsigned service, unsigned number) {
  NftElement element{key_of(service), {}};
  append_mark(element.key, number);
  element.value = endpoint(service, number);
  return element;
}

NftRule& load_key(NftRule& rule) {
  return rule.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
      .load_meta(NFT_META_L4PROTO, 1)
      .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 2);
}
NftRule choose(const std::string& chain, unsigned endpoints) {
  NftRule rule(chain);
  load_key(rule).load_number(NFT_NG_RANDOM, endpoints, 3).load_mapped("endpoints", 0, 3);
  rule.translate_destination(Family::kIPv4, 3, 4);
  return rule;
}

const std::vector<NftField> kKey{NftField::kIPv4Address, NftField::kInetProtocol, NftField::kInetService};
const std::vector<NftField> kEndpoint{NftField::kIPv4Address, NftField::kInetService};

sys::NftSet map_of(std::string name, std::vector<NftField> key, std::vector<NftField> value) {
  sys::NftSet set{std::move(name), std::move(key)};
  set.verdicts = value.empty();
  set.value = std::move(value);
  return set;
}

void begin(NftBatch& batch) {
  batch.add_table();
  batch.add_chain({"output", sys::NftHook{"nat", NF_INET_LOCAL_OUT, -100}});
}

// One verdict for each Service, and a chain of its own with its endpoints in a map of its own.
class ChainPerService {
 public:
  static constexpr const char* kName = "chain and map per Service";
  static void load(const Size& size) {
    NftBatch batch(Family::kIPv4, kTable);
    begin(batch);
    batch.add_set(map_of("services", kKey, {}));
    NftRule dispatch("output");
    load_key(dispatch).verdict_of("services");
    batch.add_rule(dispatch);
    for (unsigned i = 0; i < size.services; ++i) {
      const std::string name = fmt::format("service-{}", i);
      batch.add_set(map_of(name, {NftField::kMark}, kEndpoint));
      std::vector<NftElement> elements;
      for (unsigned j = 0; j < size.endpoints; ++j) {
        NftElement element{{}, {}, endpoint(i, j)};
        append_mark(element.key, j);
        elements.push_back(std::move(element));
      }
      batch.add_elements(name, elements);
      batch.add_chain({name, std::nullopt});
      NftRule rule(name);
      rule.load_number(NFT_NG_RANDOM, size.endpoints).load_mapped(name, 0, 0);
      rule.translate_destination(Family::kIPv4, 0, 1);
      batch.add_rule(rule);
      NftElement service{key_of(i), {}};
      service.verdict = sys::NftVerdict{kGoto, name};
      batch.add_elements("services", std::span(&service, 1));
    }
    must(batch.commit());
  }
  // One endpoint fewer: another rule in the Service's chain.
  static void change(const Size& size, unsigned service, bool fewer) {
    const std::string name = fmt::format("service-{}", service);
    NftBatch batch(Family::kIPv4, kTable);
    batch.delete_rules(name);
    NftRule rule(name);
    rule.load_number(NFT_NG_RANDOM, size.endpoints - (fewer ? 1 : 0)).load_mapped(name, 0, 0);
    rule.translate_destination(Family::kIPv4, 0, 1);
    batch.add_rule(rule);
    must(batch.commit());
  }
};

// One verdict for each Service, chains for each number of endpoints, all endpoints in one map. Ours.
class VerdictPerService {
 public:
  static constexpr const char* kName = "flat, a verdict per Service";
  static void load(const Size& size) {
    NftBatch batch(Family::kIPv4, kTable);
    begin(batch);
    batch.add_set(map_of("services", kKey, {}));
    std::vector<NftField> key = kKey;
    key.push_back(NftField::kMark);
    batch.add_set(map_of("endpoints", key, kEndpoint));
    NftRule dispatch("output");
    load_key(dispatch).verdict_of("services");
    batch.add_rule(dispatch);
    for (const unsigned number : {size.endpoints - 1, size.endpoints}) {
      batch.add_chain({fmt::format("of-{}", number), std::nullopt});
      batch.add_rule(choose(fmt::format("of-{}", number), number));
    }
    std::vector<NftElement> services;
    std::vector<NftElement> endpoints;
    for (unsigned i = 0; i < size.services; ++i) {
      services.push_back(frontend(i, size.endpoints));
      for (unsigned j = 0; j < size.endpoints; ++j) endpoints.push_back(slot_of(i, j));
    }
    batch.add_elements("services", services);
    batch.add_elements("endpoints", endpoints);
    must(batch.commit());
  }
  static void change(const Size& size, unsigned service, bool fewer) {
    NftBatch batch(Family::kIPv4, kTable);
    const NftElement before = frontend(service, size.endpoints - (fewer ? 0 : 1));
    const NftElement after = frontend(service, size.endpoints - (fewer ? 1 : 0));
    batch.remove_elements("services", std::span(&before, 1));
    batch.add_elements("services", std::span(&after, 1));
    must(batch.commit());
  }

 private:
  static NftElement frontend(unsigned service, unsigned endpoints) {
    NftElement element{key_of(service), {}};
    element.verdict = sys::NftVerdict{kGoto, fmt::format("of-{}", endpoints)};
    return element;
  }
};

// A number for each Service, verdicts for the numbers; the rest as before.
class NumberPerService {
 public:
  static constexpr const char* kName = "flat, a number per Service";
  static void load(const Size& size) {
    NftBatch batch(Family::kIPv4, kTable);
    begin(batch);
    batch.add_set(map_of("services", kKey, {NftField::kMark, NftField::kMark}));
    batch.add_set(map_of("treatments", {NftField::kMark, NftField::kMark}, {}));
    std::vector<NftField> key = kKey;
    key.push_back(NftField::kMark);
    batch.add_set(map_of("endpoints", key, kEndpoint));
    NftRule dispatch("output");
    load_key(dispatch).load_mapped("services", 0, 0).verdict_of("treatments");
    batch.add_rule(dispatch);
    for (const unsigned number : {size.endpoints - 1, size.endpoints}) {
      const std::string name = fmt::format("of-{}", number);
      batch.add_chain({name, std::nullopt});
      batch.add_rule(choose(name, number));
      NftElement treatment{number_of(number), {}};
      treatment.verdict = sys::NftVerdict{kGoto, name};
      batch.add_elements("treatments", std::span(&treatment, 1));
    }
    std::vector<NftElement> services;
    std::vector<NftElement> endpoints;
    for (unsigned i = 0; i < size.services; ++i) {
      services.push_back({key_of(i), {}, number_of(size.endpoints)});
      for (unsigned j = 0; j < size.endpoints; ++j) endpoints.push_back(slot_of(i, j));
    }
    batch.add_elements("services", services);
    batch.add_elements("endpoints", endpoints);
    must(batch.commit());
  }
  static void change(const Size& size, unsigned service, bool fewer) {
    NftBatch batch(Family::kIPv4, kTable);
    const NftElement before{key_of(service), {}, number_of(size.endpoints - (fewer ? 0 : 1))};
    const NftElement after{key_of(service), {}, number_of(size.endpoints - (fewer ? 1 : 0))};
    batch.remove_elements("services", std::span(&before, 1));
    batch.add_elements("services", std::span(&after, 1));
    must(batch.commit());
  }

 private:
  static Bytes number_of(unsigned endpoints) {
    Bytes bytes;
    append_mark(bytes, endpoints << 16U);
    append_mark(bytes, 0);
    return bytes;
  }
};

// ---- source ranges: `endpoints` of the Size is how many ranges each Service has

// The first lets this machine's packets in.
NftElement range_of(Bytes key, unsigned number) {
  NftElement element{key, std::move(key)};
  const std::uint32_t first = number == 0 ? 0x0a000000U : 0xc0000000U + (number << 16U);
  append(element.key, first);
  append(element.key_end, first + 0xffff);
  return element;
}

NftRule translate(const std::string& chain) {
  NftRule rule(chain);
  Bytes address;
  append(address, 0x0a800001U);
  const std::array<std::uint8_t, 2> port{0x1f, 0x90};
  rule.load_value(address).load_value(port, 1).translate_destination(Family::kIPv4, 0, 1);
  return rule;
}

// All ranges in one set. Ours.
class SharedRanges {
 public:
  static constexpr const char* kName = "ranges, one set for all";
  static void load(const Size& size) {
    NftBatch batch(Family::kIPv4, kTable);
    begin(batch);
    std::vector<NftField> key = kKey;
    key.push_back(NftField::kIPv4Address);
    batch.add_set({"ranges", key, true});
    NftRule guard("output");
    load_key(guard).load_payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4, 3).lookup("ranges").verdict(kGoto, "serve");
    batch.add_chain({"serve", std::nullopt});
    batch.add_rule(guard);
    batch.add_rule(translate("serve"));
    must(batch.commit());
    std::vector<NftElement> elements;
    for (unsigned i = 0; i < size.services; ++i) {
      for (unsigned j = 0; j < size.endpoints; ++j) elements.push_back(range_of(key_of(i), j));
      if (elements.size() < 4000 && i + 1 < size.services) continue;
      NftBatch some(Family::kIPv4, kTable);
      some.add_elements("ranges", std::exchange(elements, {}));
      must(some.commit());
    }
  }
  static void change(const Size& size, unsigned service, bool fewer) {
    NftBatch batch(Family::kIPv4, kTable);
    const NftElement last = range_of(key_of(service), size.endpoints - 1);
    if (fewer) batch.remove_elements("ranges", std::span(&last, 1));
    if (!fewer) batch.add_elements("ranges", std::span(&last, 1));
    must(batch.commit());
  }
};

// A set and a chain for each Service.
class OwnRanges {
 public:
  static constexpr const char* kName = "ranges, a set for each Service";
  static void load(const Size& size) {
    NftBatch first(Family::kIPv4, kTable);
    begin(first);
    first.add_set(map_of("services", kKey, {}));
    NftRule dispatch("output");
    load_key(dispatch).verdict_of("services");
    first.add_chain({"serve", std::nullopt});
    first.add_rule(dispatch);
    first.add_rule(translate("serve"));
    must(first.commit());
    NftBatch batch(Family::kIPv4, kTable);
    for (unsigned i = 0; i < size.services; ++i) {
      const std::string name = fmt::format("ranges-{}", i);
      batch.add_set({name, {NftField::kInetProtocol, NftField::kIPv4Address}, true});
      std::vector<NftElement> elements;
      for (unsigned j = 0; j < size.endpoints; ++j) elements.push_back(range_of(protocol(), j));
      batch.add_elements(name, elements);
      batch.add_chain({name, std::nullopt});
      NftRule guard(name);
      guard.load_meta(NFT_META_L4PROTO)
          .load_payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4, 1)
          .lookup(name)
          .verdict(kGoto, "serve");
      batch.add_rule(guard);
      NftElement service{key_of(i), {}};
      service.verdict = sys::NftVerdict{kGoto, name};
      batch.add_elements("services", std::span(&service, 1));
      if (batch.messages() < 4000 && i + 1 < size.services) continue;
      must(batch.commit());
      batch = NftBatch(Family::kIPv4, kTable);
    }
  }
  static void change(const Size& size, unsigned service, bool fewer) {
    const std::string name = fmt::format("ranges-{}", service);
    NftBatch batch(Family::kIPv4, kTable);
    const NftElement last = range_of(protocol(), size.endpoints - 1);
    if (fewer) batch.remove_elements(name, std::span(&last, 1));
    if (!fewer) batch.add_elements(name, std::span(&last, 1));
    must(batch.commit());
  }

 private:
  static Bytes protocol() { return {IPPROTO_UDP, 0, 0, 0}; }
};

class Nothing {
 public:
  static constexpr const char* kName = "no Services, connection tracking alone";
  static void load(const Size&) {
    NftBatch batch(Family::kIPv4, kTable);
    begin(batch);
    must(batch.commit());
  }
  static void change(const Size&, unsigned, bool) {}
};

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::uint64_t kernel_memory() {
  std::ifstream file("/proc/meminfo");
  std::uint64_t sum = 0;
  for (std::string name, value, unit; file >> name >> value && std::getline(file, unit);) {
    if (name == "Slab:" || name == "Percpu:" || name == "VmallocUsed:")
      sum += std::strtoull(value.c_str(), nullptr, 10);
  }
  return sum;
}

// UDP from ever new ports and addresses of this node to all Services in turn; the packets end in a pair of devices.
double microseconds_per_connection(const Size& size) {
  constexpr unsigned kConnections = 200'000;
  const UniqueFd socket(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  struct {
    iphdr ip;
    udphdr udp;
  } packet{};
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_UDP;
  packet.ip.tot_len = htons(sizeof packet);
  packet.udp.dest = htons(kPort);
  packet.udp.len = htons(sizeof packet.udp);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  const auto start = Clock::now();
  for (unsigned i = 0; i < kConnections; ++i) {
    packet.ip.saddr = htonl(0x0a000001U + i / 50'000);
    packet.ip.daddr = htonl(service_address(i * 7919U % size.services));
    packet.udp.source = htons(static_cast<std::uint16_t>(1024 + i % 50'000));
    to.sin_addr.s_addr = packet.ip.daddr;
    if (::sendto(socket.get(), &packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
      fail_with(std::string("sendto: ") + std::strerror(errno));
  }
  return milliseconds(start) * 1000 / kConnections;
}

void run(const std::vector<std::string>& command) {
  const auto outcome = sys::run_and_collect(command, {});
  if (!outcome || outcome->exit_status != 0) fail_with(fmt::format("{} failed", fmt::join(command, " ")));
}

template <typename Layout>
void measure(const Size& size) {
  std::thread([&size] {
    if (::unshare(CLONE_NEWNET) != 0) fail_with("needs root");
    run({"ip", "link", "set", "lo", "up"});
    run({"ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"});
    run({"ip", "address", "add", "10.0.0.1/16", "dev", "d0"});
    run({"ip", "link", "set", "d1", "up"});
    run({"ip", "link", "set", "d0", "arp", "off", "up"});
    run({"ip", "route", "add", "default", "dev", "d0"});
    const std::uint64_t memory = kernel_memory();
    const auto start = Clock::now();
    Layout::load(size);
    const double load = milliseconds(start);
    const auto used = static_cast<double>(kernel_memory()) - static_cast<double>(memory);
    constexpr unsigned kChanges = 50;
    const auto changes = Clock::now();
    for (unsigned i = 0; i < kChanges; ++i) {
      Layout::change(size, i, true);
      Layout::change(size, i, false);
    }
    const double change = milliseconds(changes) / kChanges / 2;
    std::vector<double> each;
    for (int round = 0; round < 3; ++round) {
      run({"conntrack", "-F"});
      each.push_back(microseconds_per_connection(size));
    }
    std::sort(each.begin(), each.end());
    fmt::print("{:<42} load {:>8.0f} ms   kernel {:>7.1f} MiB   one change {:>8.3f} ms   new connection {:>6.2f} us\n",
               Layout::kName, load, used / 1024, change, each[1]);
  }).join();
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::string_view(arguments[1]) == "ranges") {
    const auto number = [&](int index, unsigned otherwise) {
      return count > index ? static_cast<unsigned>(std::strtoul(arguments[index], nullptr, 10)) : otherwise;
    };
    const Size size{number(2, 10'000), number(3, 5)};
    fmt::print("{} Services of {} source ranges\n", size.services, size.endpoints);
    measure<Nothing>(size);
    measure<SharedRanges>(size);
    measure<OwnRanges>(size);
    return 0;
  }
  const auto argument = [&](int index, unsigned otherwise) {
    return count > index ? static_cast<unsigned>(std::strtoul(arguments[index], nullptr, 10)) : otherwise;
  };
  const Size size{argument(1, 10'000), argument(2, 10)};
  fmt::print("{} Services of {} endpoints\n", size.services, size.endpoints);
  measure<Nothing>(size);
  measure<ChainPerService>(size);
  measure<VerdictPerService>(size);
  measure<NumberPerService>(size);
}
