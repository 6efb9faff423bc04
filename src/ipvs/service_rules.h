// SPDX-License-Identifier: Apache-2.0
// What an engine does with a packet beside choosing its real server: whom it admits, whose source is replaced, and
// which addresses are led to it. For engines that need no helper rules (Description); the table of virtual servers is
// the same with and without.
//
// The contract.
// - The rules belong to the machine like the table: they outlive us. Each family has its own, and no call for one
//   changes the other's.
// - A rule names a virtual server that may not exist (yet, or any more): it has no effect until it does. Removing a
//   virtual server does not remove its rule.
// - Without a rule a virtual server admits every client and keeps the client's address, which is what ipvsadm's users
//   expect.
// - A new connection follows the rules as they are when it opens, and keeps to them. Admission is decided before a real
//   server is chosen: a client that is not admitted leaves no trace but a counter.
// - Where a rule applies, whatever its flags, a client that is sent to itself is masqueraded: it would otherwise
//   receive the packet as its own.
// - Masquerading is netfilter's act: the engine sets `masquerade_mark` on every packet from client to real server
//   of a connection that is to be masqueraded, before routing; a rule in POST_ROUTING, which is the caller's, replaces
//   the source of what carries the mark. What the node itself sends is not marked: its source is the node's already.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "ipvs/virtual_server.h"

namespace sluice::ipvs {

// Bits of ServiceRule::flags.
enum ServiceRuleFlag : std::uint32_t {
  kMasqueradeOthers = 1,  // clients that are not local (LocalClients)
  kMasqueradeAll = 2,     // every client, local or not
  kFilteredFlag = 4,  // only clients with an AllowedSource of this key are admitted; the others' packets are dropped
  // The rule is for the port at every address of the node. key.address is unspecified, and the key's virtual servers
  // are those at addresses that are the node's own. A rule of a virtual server's own key takes precedence.
  kAnyOwnAddress = 8,
};

struct ServiceRule {
  VirtualServerKey key;
  std::uint32_t flags = 0;  // of ServiceRuleFlag; 0: admit all, keep the source but of clients sent to themselves
  friend auto operator<=>(const ServiceRule&, const ServiceRule&) = default;
};

struct AllowedSource {
  VirtualServerKey key;  // its rule has kFilteredFlag, or it has no effect
  Cidr source;
  friend auto operator<=>(const AllowedSource&, const AllowedSource&) = default;
};

// Which clients are local, which kMasqueradeOthers spares. What the node itself sends is neither local nor masqueraded.
struct LocalClients {
  enum class Kind : std::uint8_t {
    kNone,             // no client
    kCidr,             // sources in `cidr`
    kInterface,        // packets that enter by the interface of that name
    kInterfacePrefix,  // packets that enter by an interface whose name begins so; also one that comes later
  };
  Kind kind = Kind::kNone;
  Cidr cidr{};
  std::string interface{};
  friend bool operator==(const LocalClients&, const LocalClients&) = default;
};

struct RuleSettings {
  Family family = Family::kIPv4;
  LocalClients local_clients{};
  std::uint32_t masquerade_mark = 0;  // one bit of a packet's mark; the others are kept
  // A connection to a real server that was removed ends with the client's next packet, which opens a new one or is
  // refused. Otherwise its packets are dropped until it times out. ip_vs calls it expire_nodest_conn.
  bool expire_without_real_server = false;
  // A real server of weight 0 gets no new connections of clients that were sent to it before (persistence). ip_vs calls
  // it expire_quiescent_template.
  bool expire_quiescent_templates = false;
  friend bool operator==(const RuleSettings&, const RuleSettings&) = default;
};

// All of one family. Each sorted or not, without duplicates; a key has one rule.
struct RuleElements {
  std::vector<ServiceRule> rules;
  std::vector<AllowedSource> allowed;
  // Packets to these come to the engine wherever they are sent from, also from the node itself when no route leads to
  // them; what is not served there is refused, and never leaves the node.
  std::vector<IpAddress> addresses;
  [[nodiscard]] bool empty() const { return rules.empty() && allowed.empty() && addresses.empty(); }
  friend bool operator==(const RuleElements&, const RuleElements&) = default;
};

class ServiceRules {
 public:
  virtual ~ServiceRules() = default;
  // Makes settings and rules of settings.family exactly these, and everything that they need in the node (programs,
  // hooks, the device and routes for addresses). Only what differs is written; returns how many elements that were.
  // At every moment each rule is as it was or as it will be.
  virtual Result<std::size_t> replace(const RuleSettings& settings, const RuleElements& wanted) = 0;
  // Adds, then removes. An added rule takes the place of the one with its key; a removed one is recognised by its key
  // alone. Adding what exists and removing what is missing are no errors. Nothing may be in both. Returns how many
  // elements were written. kUnavailable if what replace() made is gone from the node: then all are to be written again.
  virtual Result<std::size_t> change(Family family, const RuleElements& add, const RuleElements& remove) = 0;
  // Virtual servers with a rule take no new connections until the next replace(); open ones continue. For an
  // engine that packets meet before the rules of other proxy modes: it would keep what is theirs. Others need not do
  // anything. No error if there is nothing.
  virtual Result<> retire(Family) { return {}; }
  // Removes all of the family, and its settings. No error if there is nothing.
  virtual Result<> clear(Family family) = 0;
  // What is there, in no order; nothing if there is none.
  virtual Result<RuleElements> read(Family family) = 0;
  // Whether all that replace() needs in the node is there, and the settings are those. Cheap: the rules are not looked
  // at.
  virtual Result<bool> intact(const RuleSettings& settings) = 0;
};

}  // namespace sluice::ipvs
