// SPDX-License-Identifier: Apache-2.0
#include "dataplane/dataplane.h"

namespace sluice::dataplane {

std::string_view to_string(Gap gap) {
  switch (gap) {
    case Gap::kDropByPolicy:
      return "drop-by-policy";
    case Gap::kPoolBySource:
      return "pool-by-source";
    case Gap::kSourceFromLoopback:
      return "source-from-loopback";
    case Gap::kRefuseOwnPackets:
      return "refuse-own-packets";
    case Gap::kMasqueradeOwnPackets:
      return "masquerade-own-packets";
    case Gap::kFilterBeforeRefusal:
      return "filter-before-refusal";
  }
  return "";
}

}  // namespace sluice::dataplane
