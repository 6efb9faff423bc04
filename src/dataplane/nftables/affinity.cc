// SPDX-License-Identifier: Apache-2.0
// The chain of a Service port with affinity and two real servers:
//
//   ip saddr @clients-shop/web/tcp/http__10.244.0.7/8080 goto server-shop/web/tcp/http__10.244.0.7/8080
//   ip saddr @clients-shop/web/tcp/http__10.244.1.9/8080 goto server-shop/web/tcp/http__10.244.1.9/8080
//   numgen random mod 2 0 goto server-shop/web/tcp/http__10.244.0.7/8080
//   goto server-shop/web/tcp/http__10.244.1.9/8080
//
// and a server's chain remembers the client, for the time of affinity from now on, and leads to the server. The change
// that takes a server away takes its rules out of this chain, so its clients are given another server at once; its own
// chain and its clients' set, which nothing uses then, go in a transaction after that (idle_parts.cc).
//
// A map from clients to servers, one for all Services, would need fewer rules, but then a rule has to ask whether what it
// found still serves, which is a key made of a map's value (see treatment.cc), and clients could not be forgotten without
// being listed. The sets have no size of their own: the kernel makes room at once for as many as a set declares, 2 MiB for
// 65,535 (nft_rhash_init()), and takes that number for the limit of a set that declares none (nft_dynset_init()).
#include "dataplane/nftables/affinity.h"

#include <fmt/format.h>

// The kernel's headers yield to libc's where these come first.
#include <netinet/in.h>

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <set>

namespace sluice::dataplane::nftables {
namespace {

using nft::End;
using nft::Words;
using plan::AddressPort;
using plan::Pool;
using sys::NftRule;

std::string server_word(const std::string& sticky, const AddressPort& server) {
  std::string address = server.address.to_string();
  std::ranges::replace(address, ':', '.');  // which names may have
  return fmt::format("{}__{}/{}", sticky, address, server.port);
}

class Writer {
 public:
  Writer(const plan::ServicePortPlan& port, const RuleSettings& settings)
      : port_(port), words_(settings.family), sticky_(sticky_word(port)) {}

  sys::NftSet clients(const AddressPort& server) const {
    sys::NftSet set{"clients-" + server_word(sticky_, server), {words_.address_field()}};
    set.dynamic = true;
    set.timeout.emplace(0);
    return set;
  }

  Chain serve(const AddressPort& server) const {
    Chain chain{"server-" + server_word(sticky_, server), {}};
    NftRule& remember = chain.rules.emplace_back(chain.name);
    words_.load_address(remember, End::kSource)
        .update_element(clients(server).name, 0, std::chrono::seconds(*port_.affinity_seconds));
    NftRule& translate = chain.rules.emplace_back(chain.name);
    Words::match_protocol(translate, ip_protocol_number(port_.key.protocol));
    const std::array<std::uint8_t, 2> number{static_cast<std::uint8_t>(server.port >> 8),
                                             static_cast<std::uint8_t>(server.port & 0xff)};
    translate.load_value(server.address.bytes())
        .load_value(number, words_.address_slots())
        .translate_destination(words_.family(), 0, words_.address_slots());
    return chain;
  }

  Chain choose(Pool pool, const Slots& slots) const {
    Chain chain{sticky_name(pool, sticky_), {}};
    std::set<AddressPort> met;
    for (const AddressPort& server : slots) {
      if (!met.insert(server).second) continue;
      NftRule& known = chain.rules.emplace_back(chain.name);
      words_.load_address(known, End::kSource)
          .lookup(clients(server).name)
          .verdict(kGoto, "server-" + server_word(sticky_, server));
    }
    // Of n that are left each gets every nth.
    for (std::size_t i = 0; i < slots.size(); ++i) {
      NftRule& chosen = chain.rules.emplace_back(chain.name);
      const auto left = static_cast<std::uint32_t>(slots.size() - i);
      if (left > 1) chosen.load_number(NFT_NG_RANDOM, left).compare(NFT_CMP_EQ, std::uint32_t{0});
      chosen.verdict(kGoto, "server-" + server_word(sticky_, slots[i]));
    }
    return chain;
  }

 private:
  const plan::ServicePortPlan& port_;
  Words words_;
  std::string sticky_;
};

}  // namespace

std::string own_word(const plan::ServicePortPlan& port) {
  std::string protocol(to_string(port.key.protocol));
  std::ranges::transform(protocol, protocol.begin(), [](unsigned char c) { return std::tolower(c); });
  return fmt::format("{}/{}/{}/{}", port.key.service.namespace_name, port.key.service.name, protocol,
                     port.key.port_name);
}

std::string sticky_word(const plan::ServicePortPlan& port) {
  return port.affinity_seconds.value_or(0) == 0 ? "" : own_word(port);
}

OwnParts own_parts(const plan::ServicePortPlan& port, const PortSlots& slots, const std::vector<Treatment>& treatments,
                   const RuleSettings& settings) {
  OwnParts parts;
  const bool forwards =
      std::ranges::any_of(treatments, [](const Treatment& treatment) { return treatment.forwards(); });
  if (sticky_word(port).empty() || !forwards) return parts;
  const Writer writer(port, settings);
  std::set<AddressPort> servers;
  std::vector<Chain> choices;
  for (const Pool pool : {Pool::kCluster, Pool::kLocal}) {
    if (std::ranges::none_of(treatments, [&](const Treatment& treatment) { return treatment.uses(pool); })) continue;
    servers.insert(slots.of(pool).begin(), slots.of(pool).end());
    choices.push_back(writer.choose(pool, slots.of(pool)));
  }
  for (const AddressPort& server : servers) {
    parts.sets.push_back(writer.clients(server));
    parts.chains.push_back(writer.serve(server));
  }
  std::ranges::move(choices, std::back_inserter(parts.chains));
  std::set<std::string> made;
  for (const Treatment& treatment : treatments) {
    for (Chain& chain : chains(treatment, settings)) {
      if (made.insert(chain.name).second) parts.chains.push_back(std::move(chain));
    }
  }
  return parts;
}

}  // namespace sluice::dataplane::nftables
