// SPDX-License-Identifier: Apache-2.0
// What planning costs: one changed slice in clusters of 100, 1,000 and 10,000 Services (should be the same in all
// three, except for the processor's caches), the whole plan, and the memory that a plan and its Snapshot use. 10
// endpoints per Service.
//   plan_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "model/snapshot.h"
#include "plan/planner.h"

namespace sluice {
namespace {

constexpr std::size_t kEndpointsEach = 10;

std::string service_name(std::size_t index) {
  return "service-" + std::to_string(index);
}

model::Service make_service(std::size_t index) {
  model::Service service;
  service.key = {"load", service_name(index)};
  service.cluster_ips = {IpAddress::from_v4(static_cast<std::uint32_t>(0x0a600000U + 256 + index))};
  service.ports = {{"p", Protocol::kTcp, 80, 0}};
  return service;
}

// `shift` moves one endpoint to another address.
model::EndpointSlice make_slice(std::size_t index, std::size_t shift) {
  model::EndpointSlice slice;
  slice.service_name = service_name(index);
  slice.key = {"load", slice.service_name + "-x7k2p"};
  slice.ports = {{"p", Protocol::kTcp, 8080}};
  for (std::size_t i = 0; i < kEndpointsEach; ++i) {
    model::Endpoint endpoint;
    const std::size_t number = i + 1 < kEndpointsEach ? i : i + shift;
    endpoint.address = IpAddress::from_v4(static_cast<std::uint32_t>(0x0a800000U + index * 16 + number));
    endpoint.node_name = "node-" + std::to_string(i);
    slice.endpoints.push_back(std::move(endpoint));
  }
  return slice;
}

model::Update whole_cluster(std::size_t services) {
  model::Update update;
  for (std::size_t i = 0; i < services; ++i) {
    update.services.push_back(make_service(i));
    update.slices.push_back(make_slice(i, 0));
  }
  return update;
}

std::size_t heap_bytes() {
  return ::mallinfo2().uordblks;
}

void one_slice_change(benchmark::State& state) {
  const auto services = static_cast<std::size_t>(state.range(0));
  model::Snapshot snapshot;
  plan::Planner planner(plan::Settings{"node-0", true});
  planner.update(snapshot, snapshot.apply(whole_cluster(services)).services);
  std::size_t round = 0;
  for (auto _ : state) {
    state.PauseTiming();
    model::Update update;
    // A stride that visits all Services, so that none is always in the caches.
    update.slices.push_back(make_slice(round * 7919 % services, round / services % 2 + 1));
    state.ResumeTiming();
    const model::Touched touched = snapshot.apply(std::move(update));
    const auto changes = planner.update(snapshot, touched.services);
    if (changes.size() != 1) state.SkipWithError("a changed slice must change one port");
    ++round;
  }
}
BENCHMARK(one_slice_change)->Arg(100)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMicrosecond);

void full_plan(benchmark::State& state) {
  const auto services = static_cast<std::size_t>(state.range(0));
  model::Snapshot snapshot;
  snapshot.apply(whole_cluster(services));
  for (auto _ : state) {
    plan::Planner planner(plan::Settings{"node-0", true});
    benchmark::DoNotOptimize(planner.replan_all(snapshot, {}));
  }
  state.counters["per_service"] = benchmark::Counter(
      static_cast<double>(services), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(full_plan)->Arg(100)->Arg(1'000)->Arg(10'000)->Unit(benchmark::kMillisecond);

// The first list of a cluster into an empty Snapshot.
void snapshot_fill(benchmark::State& state) {
  const auto services = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    model::Update update = whole_cluster(services);
    model::Snapshot snapshot;
    state.ResumeTiming();
    benchmark::DoNotOptimize(snapshot.apply(std::move(update)));
    state.PauseTiming();
    snapshot = {};
    state.ResumeTiming();
  }
}
BENCHMARK(snapshot_fill)->Arg(10'000)->Unit(benchmark::kMillisecond);

// No timing: only the counters matter. All memory from malloc is counted, headers included.
void memory(benchmark::State& state) {
  const auto services = static_cast<std::size_t>(state.range(0));
  const double endpoints = static_cast<double>(services * kEndpointsEach);
  for (auto _ : state) {
    const std::size_t empty = heap_bytes();
    model::Snapshot snapshot;
    const std::set<model::ObjectKey> touched = snapshot.apply(whole_cluster(services)).services;
    const std::size_t with_touched = heap_bytes();
    std::size_t with_plan = 0;
    {
      plan::Planner planner(plan::Settings{"node-0", true});
      planner.update(snapshot, touched);
      with_plan = heap_bytes();
      benchmark::DoNotOptimize(planner.plan());
    }
    state.counters["plan_MB"] = static_cast<double>(with_plan - with_touched) / 1e6;
    state.counters["plan_bytes_per_endpoint"] = static_cast<double>(with_plan - with_touched) / endpoints;
    state.counters["snapshot_and_touched_MB"] = static_cast<double>(with_touched - empty) / 1e6;
    state.counters["snapshot_bytes_per_endpoint"] = static_cast<double>(with_touched - empty) / endpoints;
  }
}
BENCHMARK(memory)->Arg(10'000)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
