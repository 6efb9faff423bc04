// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>

#include "dataplane/nftables/slots.h"
#include "model/weights.h"

namespace sluice::dataplane::nftables {
namespace {

using plan::AddressPort;
using plan::Pool;

const std::string& requested_scheduler(const plan::ServicePortPlan& port) {
  static const std::string kNone;
  const auto found = port.sluice_annotations.find(kSchedulerAnnotation);
  return found == port.sluice_annotations.end() ? kNone : found->second;
}

// By how much the share of an endpoint differs from the one that its weight means, at most, as a part of that.
double worst_deviation(const plan::ServicePortPlan& port, Pool pool) {
  std::map<AddressPort, double> weights;
  double total = 0;
  if (std::ranges::all_of(port.real_servers, [&](const plan::RealServer& server) {
        return server.weight == port.real_servers.front().weight;
      }))
    return 0;
  for (const plan::RealServer& server : port.real_servers) {
    if (!server.in(pool) || server.weight == 0) continue;
    weights[{server.address, server.port}] += server.weight;
    total += server.weight;
  }
  std::map<AddressPort, double> places;
  const Slots slots = fresh_slots(port, pool);
  for (const AddressPort& server : slots) ++places[server];
  double worst = 0;
  for (const auto& [server, weight] : weights)
    worst = std::max(worst, std::abs(places[server] / static_cast<double>(slots.size()) / (weight / total) - 1));
  return worst;
}

bool uses(const plan::ServicePortPlan& port, Pool pool) {
  return std::ranges::any_of(port.frontends, [&](const plan::Frontend& frontend) {
    const plan::Routes& routes = port.routes(frontend);
    return std::ranges::any_of(std::array{routes.pod, routes.node, routes.outside}, [&](const plan::Route& route) {
      return route.verdict == plan::Verdict::kForward && route.pool == pool;
    });
  });
}

}  // namespace

Scheduler scheduler_of(const plan::ServicePortPlan& port) {
  const std::string& text = requested_scheduler(port);
  if (text.empty() || text == "random") return Scheduler::kChance;
  if (text == "rr") return Scheduler::kTurns;
  return text == "wrr" ? Scheduler::kWeightedTurns : Scheduler::kUnknown;
}

std::vector<std::string> unmet_requests(const plan::ServicePortPlan& port) {
  constexpr double kDeviationMax = 0.1;
  std::vector<std::string> unmet;
  const std::string& text = requested_scheduler(port);
  const Scheduler scheduler = scheduler_of(port);
  if (scheduler == Scheduler::kUnknown) {
    unmet.push_back(
        fmt::format("{}: mode nftables chooses at random (random) or in turn (rr, wrr), \"{}\" is none of these; "
                    "endpoints are chosen at random",
                    kSchedulerAnnotation, text));
  }
  if (takes_turns(scheduler) && port.affinity_seconds.value_or(0) != 0) {
    unmet.push_back(fmt::format("{}: with session affinity mode nftables chooses at random, not by \"{}\"",
                                kSchedulerAnnotation, text));
  }
  if (scheduler == Scheduler::kTurns) return unmet;  // no matter which weight
  for (const Pool pool : {Pool::kCluster, Pool::kLocal}) {
    if (!uses(port, pool)) continue;
    if (worst_deviation(port, pool) <= kDeviationMax) continue;
    // Without figures: each endpoint that comes or goes would change them, and a sentence that changes is reported anew.
    unmet.push_back(
        fmt::format("{}: mode nftables has too few places for the weights of the endpoints of port {}; "
                    "the share of an endpoint differs by more than a tenth from what its weight means",
                    model::kWeightAnnotation, port.key.printed_name()));
    break;
  }
  return unmet;
}

}  // namespace sluice::dataplane::nftables
