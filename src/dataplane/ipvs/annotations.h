// SPDX-License-Identifier: Apache-2.0
// What a Service may choose for itself in mode ipvs: sluice.dev/scheduler and sluice.dev/drain-timeout. Pure text.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::dataplane::ipvs {

inline constexpr std::string_view kSchedulerAnnotation = "sluice.dev/scheduler";
inline constexpr std::string_view kDrainTimeoutAnnotation = "sluice.dev/drain-timeout";

// A scheduler of ip_vs, and its flags as bits of sluice::ipvs::VirtualServerFlag.
struct Scheduler {
  std::string name = "rr";
  std::uint32_t flags = 0;
  friend bool operator==(const Scheduler&, const Scheduler&) = default;
};

// "wlc", or with flags in ipvsadm's words: "mh,mh-port", "sh,sh-fallback,sh-port". The kernel is not
// consulted.
Result<Scheduler> parse_scheduler(std::string_view text);
// The same for the configuration's default: empty is rr, and a plain "mh" gets the port flag, as in kube-proxy.
Result<Scheduler> parse_default_scheduler(std::string_view text);

// "30s", "1m30s", "1.5h", "0": Go's durations from 0 to a year, cut to milliseconds.
Result<std::chrono::milliseconds> parse_drain_timeout(std::string_view text);

}  // namespace sluice::dataplane::ipvs
