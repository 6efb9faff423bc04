// SPDX-License-Identifier: Apache-2.0
// What one event costs must not depend on how many Services there are. Times would show it, but not reliably; bytes
// of allocated memory can be counted, and copying, listing or planning other Services allocates some. (Only
// reading them is found by PlannerAtScale, where reading would change the outcome.)
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <new>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace {

// By this program; its tests have one thread.
std::size_t allocated = 0;  // bytes, and never less
std::size_t live = 0;       // pieces

}  // namespace

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  allocated += size;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory != nullptr) ++live;
  return memory;
}
void* operator new(std::size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) --live;
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}

namespace sluice::plan {
namespace {

using namespace test;
using model::Update;

constexpr std::size_t kFew = 10;
constexpr std::size_t kMany = 10'000;

model::Service numbered_service(std::size_t index) {
  model::Service service =
      make_service("s" + std::to_string(index), {service_port("p", 80), service_port("q", 81)}, {});
  service.cluster_ips = {IpAddress::from_v4(static_cast<std::uint32_t>(0x0a600000U + index)),
                         ip("fd00::" + std::to_string(index))};
  service.type = model::ServiceType::kLoadBalancer;
  service.external_traffic_policy = model::TrafficPolicy::kLocal;
  service.health_check_node_port = 32000;
  return service;
}

model::EndpointSlice numbered_slice(std::size_t index, const std::vector<std::string>& endpoints) {
  const std::string service = "s" + std::to_string(index);
  return make_slice(service + "-x", service, {slice_port("p", 8080), slice_port("q", 8081, Protocol::kUdp)}, endpoints);
}

// A planned cluster, in which one event is counted.
class CountedCluster {
 public:
  explicit CountedCluster(std::size_t services) {
    Update update;
    for (std::size_t i = 0; i < services; ++i) {
      update.services.push_back(numbered_service(i));
      update.slices.push_back(numbered_slice(i, {"10.1.0.1 @self", "10.1.0.2 zone=a"}));
    }
    (void)planner_.update(snapshot_, snapshot_.apply(std::move(update)).services);
  }

  std::size_t cost_of(const std::function<void(Update&)>& event) {
    Update update;
    event(update);
    const std::size_t before = allocated;
    const model::Touched touched = snapshot_.apply(std::move(update));
    changes_ = planner_.update(snapshot_, touched.services).size();
    return allocated - before;
  }
  [[nodiscard]] std::size_t changes() const { return changes_; }

 private:
  model::Snapshot snapshot_;
  Planner planner_{kSettings};
  std::size_t changes_ = 0;
};

TEST(PlannerCost, AnEventCostsTheSameAmongTenServicesAndAmongTenThousand) {
  struct Row {
    const char* name;
    std::function<void(Update&)> event;
    std::size_t changes;
  };
  const Row rows[] = {
      {"a slice changes", [](Update& u) { u.slices = {numbered_slice(3, {"10.1.0.1 @self", "10.1.0.2", "10.1.0.3"})}; },
       1},
      {"the same slice again",
       [](Update& u) { u.slices = {numbered_slice(3, {"10.1.0.1 @self", "10.1.0.2", "10.1.0.3"})}; }, 0},
      {"a slice moves to another Service",
       [](Update& u) {
         u.slices = {numbered_slice(3, {"10.1.0.7"})};
         u.slices[0].service_name = "s4";
       },
       2},
      {"a slice goes", [](Update& u) { u.slices_removed = {{"shop", "s4-x"}}; }, 1},
      {"a slice of no Service",
       [](Update& u) {
         u.slices = {numbered_slice(5, {"10.1.0.7"})};
         u.slices[0].service_name = "";
       },
       1},
      {"a Service changes",
       [](Update& u) {
         u.services = {numbered_service(6)};
         u.services[0].affinity_seconds = 10;
       },
       4},
      {"a Service goes", [](Update& u) { u.services_removed = {{"shop", "s7"}}; }, 4},
      {"the node says something new that planning does not read",
       [](Update& u) {
         u.node.emplace();
         u.node->uid = "1";
       },
       0},
  };
  CountedCluster few(kFew);
  CountedCluster many(kMany);
  for (const Row& row : rows) {
    const std::size_t among_few = few.cost_of(row.event);
    EXPECT_EQ(few.changes(), row.changes) << row.name;
    EXPECT_EQ(many.cost_of(row.event), among_few) << row.name;
    EXPECT_EQ(many.changes(), row.changes) << row.name;
  }
}

TEST(PlannerCost, NothingIsKeptOfServicesAndSlicesThatAreGone) {
  model::Snapshot snapshot;
  Planner planner(kSettings);
  const auto come_and_go = [&](std::size_t first, bool service_goes_first) {
    for (const bool come : {true, false}) {
      for (const bool services : {service_goes_first, !service_goes_first}) {
        Update update;
        for (std::size_t i = first; i < first + 100; ++i) {
          if (come && services) update.services.push_back(numbered_service(i));
          if (come && !services) update.slices.push_back(numbered_slice(i, {"10.1.0.1 @self"}));
          if (!come && services) update.services_removed.push_back(numbered_service(i).key);
          if (!come && !services) update.slices_removed.push_back(numbered_slice(i, {}).key);
        }
        (void)planner.update(snapshot, snapshot.apply(std::move(update)).services);
      }
    }
  };
  come_and_go(0, true);  // the tables' buckets stay
  const std::size_t kept = live;
  for (const bool service_goes_first : {true, false}) {
    come_and_go(1000, service_goes_first);
    come_and_go(2000, service_goes_first);
    EXPECT_EQ(live, kept) << "the Service goes first: " << service_goes_first;
  }
}

TEST(PlannerCost, PlanningEverythingIsNoticedByTheCount) {
  CountedCluster few(kFew);
  CountedCluster many(kMany);
  const auto everything = [](std::size_t services) {
    return [services](Update& u) {
      for (std::size_t i = 0; i < services; ++i) u.slices.push_back(numbered_slice(i, {"10.1.0.9"}));
    };
  };
  EXPECT_GT(many.cost_of(everything(kMany)), 100 * few.cost_of(everything(kFew)));
}

}  // namespace
}  // namespace sluice::plan
