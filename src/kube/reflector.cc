// SPDX-License-Identifier: Apache-2.0
// A list returns a resourceVersion, a watch from that version on returns every change since. Four things go
// wrong in ordinary clusters, each with its own remedy: a connection ends (watch again from the last version), the
// version is too old, 410 Gone (list again, keep serving), the server is overloaded (wait as long as it demands, and
// longer each time), it is older or newer than we (404: another version of the API; 400: a selector that it does not
// know). Whatever it returns, requests never come in a tight loop: only a watch that worked for a while is followed at
// once by the next.
#include "kube/reflector.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "base/log.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kRefusalBytesMax = 16 * 1024;
constexpr int kPageSize = 500;
constexpr std::chrono::milliseconds kRetryAfterMax{300000};
// A watch that fails this often in a row gets a new list: its version may be the cause, for example after
// etcd was restored from a backup ("Too large resource version", 504), or the event after it, which is sent again and
// again and cannot be read.
constexpr int kWatchFailuresMax = 3;

}  // namespace

std::string escape_query(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Reflector::Reflector(net::EventLoop& loop, const ClientConfig& config, Collection collection, const ApiTiming& timing,
                     const SourceHooks& hooks, CollectionHandler& handler, WaitBoard& board)
    : loop_(loop),
      config_(config),
      collection_(std::move(collection)),
      timing_(timing),
      hooks_(hooks),
      handler_(handler),
      board_(board),
      timer_(loop),
      rest_timer_(loop) {}

Reflector::~Reflector() = default;

void Reflector::start() {
  board_.wait(collection_.kind, WaitsFor::kObjects, collection_.kind, "");
  list();
}

std::string Reflector::selector_query() const {
  const std::string& selector = collection_.selectors[selector_];
  return selector.empty() ? "" : "&" + selector;
}

void Reflector::list() {
  if (continue_token_.empty()) handler_.list_begins();
  listing_ = true;
  std::string query = fmt::format("?limit={}{}", kPageSize, selector_query());
  if (!continue_token_.empty()) {
    query += "&continue=" + escape_query(continue_token_);
  } else if (!consistent_ && resource_version_.empty()) {
    // At first any state of the server's cache will do. Later another server's cache may be older than what is
    // served, and a list from it would revert what has happened since.
    query += "&resourceVersion=0";
  }
  request(query, timing_.http.idle);
}

void Reflector::watch() {
  listing_ = false;
  const auto low = timing_.watch_min.count();
  const auto seconds = std::uniform_int_distribution<std::int64_t>(low, 2 * low - 1)(random_);
  const std::chrono::milliseconds longest = std::chrono::seconds(seconds) + timing_.watch_slack;
  request(fmt::format("?allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}&watch=true{}",
                      escape_query(resource_version_), seconds, selector_query()),
          std::min(longest, timing_.watch_silence));
}

void Reflector::request(const std::string& query, std::chrono::milliseconds idle) {
  status_ = 0;
  refusal_body_.clear();
  retry_after_.clear();
  location_.clear();
  progress_ = false;
  unreadable_ = false;
  expired_ = false;
  ++exchanges_;
  began_ = std::chrono::steady_clock::now();
  // The token is read for each request: a new one is used as soon as the old one is refused.
  const auto token = authorization(config_);
  if (!token) return retry(token.error().what);
  net::HttpClientRequest message;
  message.path = config_.path_prefix + collection_.paths[path_] + query;
  message.headers = {{"Accept", "application/json"}, {"User-Agent", fmt::format("sluice/{}", SLUICE_VERSION)}};
  if (!token->empty()) message.headers.emplace_back("Authorization", *token);
  message.timeouts = timing_.http;
  message.timeouts.idle = idle;
  splitter_ = std::make_unique<JsonSplitter>(
      listing_ ? JsonSplitter::Kind::kListItems : JsonSplitter::Kind::kDocuments,
      [this](std::string_view json) { return listing_ ? take_item(json) : take_event(json); });
  net::HttpCallbacks callbacks;
  callbacks.on_head = [this](const net::HttpResponseHead& head) {
    status_ = head.status;
    retry_after_ = head.retry_after;
    location_ = head.location;
    if (hooks_.on_request) hooks_.on_request(std::to_string(head.status), "GET", config_.target.host_header());
    if (!listing_ && status_ == 200) in_sight();
  };
  callbacks.on_body = [this](std::string_view piece) -> Result<> {
    if (status_ != 200) {
      refusal_body_.append(piece.substr(0, kRefusalBytesMax - std::min(kRefusalBytesMax, refusal_body_.size())));
      return {};
    }
    Result<> fed = splitter_->feed(piece);
    // A watch's events should be visible at once; a list's objects may be collected.
    if (!listing_) handler_.pause();
    unreadable_ = !fed;
    if (!listing_ && fed) expect_rest_of_event();
    return fed;
  };
  callbacks.on_done = [this](Result<> outcome) { on_done(std::move(outcome)); };
  exchange_ = net::start_exchange(loop_, config_.target, std::move(message), std::move(callbacks));
}

// A watch may be silent for long, but not in the middle of an event.
void Reflector::expect_rest_of_event() {
  rest_timer_.cancel();
  if (!splitter_->within_object()) return;
  rest_timer_.expires_after(timing_.event_rest);
  rest_timer_.async_wait(
      [this, mine = exchanges_, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
        if (error || alive.expired() || mine != exchanges_ || !splitter_->within_object()) return;
        exchange_.reset();
        on_done(fail(Errc::kUnavailable, "the watch stopped in the middle of an event"));
      });
}

Result<> Reflector::take_item(std::string_view json) {
  SLUICE_CHECK_OK(handler_.set(json));
  return {};
}

Result<> Reflector::take_event(std::string_view json) {
  SLUICE_TRY(const Decoder::WatchEvent event, decoder_.split_watch_event(json));
  if (event.type == "ADDED" || event.type == "MODIFIED" || event.type == "DELETED") {
    SLUICE_TRY(std::string version,
               event.type == "DELETED" ? handler_.remove(event.object) : handler_.set(event.object));
    if (!version.empty()) resource_version_ = std::move(version);
    progress_ = true;
    return {};
  }
  SLUICE_TRY(const Decoder::ListMetadata other, decoder_.decode_list_metadata(event.object));
  if (event.type == "ERROR") return take_error_event(other);
  // A type that is unknown to us, as bookmarks once were, is ignored.
  if (event.type != "BOOKMARK") return {};
  if (!other.resource_version.empty()) resource_version_ = other.resource_version;
  progress_ = true;
  return {};
}

Result<> Reflector::take_error_event(const Decoder::ListMetadata& status) {
  expired_ = status.status_code == 410;
  return fail(Errc::kUnavailable,
              fmt::format("the API server ended the watch: {} {}", status.status_code, status.status_message));
}

void Reflector::on_done(Result<> outcome) {
  ++exchanges_;
  rest_timer_.cancel();
  // A watch that worked ends earlier faults: what follows is a new fault, and is not waited for like the old
  // one was. A watch that sends an event and then at once 410 did not work.
  const bool lasted = std::chrono::steady_clock::now() - began_ >= timing_.watch_short;
  if (!listing_ && status_ == 200 && (lasted || (progress_ && !expired_))) {
    backoff_ = std::chrono::milliseconds(0);
    complaint_.clear();
  }
  if (status_ != 404) not_found_ = 0;
  if (status_ == 0 && hooks_.on_request) hooks_.on_request("<error>", "GET", config_.target.host_header());
  handler_.pause();
  if (expired_) return relist();
  if (status_ != 0 && status_ != 200) return on_refusal();
  if (!listing_) return on_watch_done(std::move(outcome));
  if (!outcome) return retry(outcome.error().what);
  on_list_done();
}

void Reflector::on_list_done() {
  const auto rest = splitter_->finish();
  if (!rest) return retry(rest.error().what);
  const auto list_metadata = decoder_.decode_list_metadata(*rest);
  if (!list_metadata) return retry(list_metadata.error().what);
  // A proxy between us and the API server that returns 200 with its own document must not empty the node.
  if (list_metadata->kind != collection_.kind + "List") {
    return retry(fmt::format("expected a {}List, the response is of kind '{}'", collection_.kind, list_metadata->kind));
  }
  if (!list_metadata->continue_token.empty()) {
    continue_token_ = list_metadata->continue_token;
    return list();
  }
  // A watch without a version begins at any state, and a removal in between would never be reported.
  if (list_metadata->resource_version.empty()) return retry("the list names no resourceVersion");
  continue_token_.clear();
  consistent_ = false;
  resource_version_ = list_metadata->resource_version;
  handler_.list_ends();
  in_sight();
  watch();
}

// Every watch ends: after the time that we requested, when a load balancer or the API server restarts, or in silence.
void Reflector::on_watch_done(Result<> outcome) {
  unreadable_ = unreadable_ || splitter_->within_object();
  if (outcome) {
    if (const auto ended = splitter_->finish(); !ended) outcome = tl::unexpected(ended.error());
  }
  const std::string why = outcome ? "the watch ended" : outcome.error().what;
  if (status_ != 0) {
    watch_failures_ = unreadable_ && !progress_ ? watch_failures_ + 1 : 0;
    if (list_after_failures()) return retry(why);
  }
  if (status_ != 0 && std::chrono::steady_clock::now() - began_ >= timing_.watch_short) {
    SLUICE_LOG_V(3, "A watch ended, watching again", {"kind", collection_.kind}, {"why", why});
    return watch();
  }
  retry(why);
}

// True if the next request is a list.
bool Reflector::list_after_failures() {
  if (watch_failures_ < kWatchFailuresMax) return false;
  watch_failures_ = 0;
  listing_ = true;
  consistent_ = true;
  return true;
}

void Reflector::on_refusal() {
  std::string reason = refusal_body_;
  if (const auto status = decoder_.decode_list_metadata(refusal_body_); status && !status->status_message.empty()) {
    reason = status->status_message;
  }
  if (!location_.empty()) reason = fmt::format("redirects are not followed: to {}", location_);
  reason.resize(std::min<std::size_t>(reason.size(), 300));
  if (status_ == 410) return relist();
  if (try_alternative(reason)) return;
  const bool about_version = status_ == 400 || status_ == 422 || status_ == 504;
  if (!listing_ && about_version) {
    ++watch_failures_;
    list_after_failures();
  }
  std::chrono::milliseconds wait{0};
  int seconds = 0;
  const char* const end = retry_after_.data() + retry_after_.size();
  if (std::from_chars(retry_after_.data(), end, seconds).ec == std::errc() && seconds > 0) {
    wait = std::min<std::chrono::milliseconds>(std::chrono::seconds(seconds), kRetryAfterMax);
  }
  retry(fmt::format("the API server returned {}: {}", status_, reason), wait);
}

// True if the refusal may be due to the form of the request, and another form was chosen.
bool Reflector::try_alternative(const std::string& reason) {
  if (status_ == 404 && collection_.paths.size() > 1) {
    path_ = (path_ + 1) % collection_.paths.size();
    continue_token_.clear();
    listing_ = true;
    if (not_found_ < collection_.paths.size()) {
      SLUICE_LOG_INFO("The API server does not serve this version, trying another", {"kind", collection_.kind},
                      {"path", collection_.paths[path_]});
    }
    // After a full round no version is served: that takes time to change.
    if (++not_found_ % collection_.paths.size() == 0) return false;
    list();
    return true;
  }
  if (status_ == 400 && listing_ && selector_ + 1 < collection_.selectors.size()) {
    ++selector_;
    continue_token_.clear();
    SLUICE_LOG_INFO("The API server does not support a selector, filtering here", {"kind", collection_.kind},
                    {"err", reason});
    list();
    return true;
  }
  return false;
}

// A list is complete, or a watch is open.
void Reflector::in_sight() {
  board_.done(collection_.kind);
  if (std::exchange(lost_, false))
    SLUICE_LOG_V(1, "Following the API server's objects again", {"kind", collection_.kind});
}

void Reflector::relist() {
  if (backoff_.count() == 0)
    SLUICE_LOG_INFO("The resource version is too old, listing again; what is served stays", {"kind", collection_.kind});
  consistent_ = true;
  continue_token_.clear();
  listing_ = true;
  // A server that returns 410 for everything gets requests at a bounded rate.
  if (backoff_.count() > 0) return retry("410 Gone");
  backoff_ = timing_.backoff_min;
  list();
}

void Reflector::retry(const std::string& why, std::chrono::milliseconds at_least) {
  backoff_ = backoff_.count() == 0 ? timing_.backoff_min : std::min(backoff_ * 2, timing_.backoff_max);
  const auto jitter = std::uniform_int_distribution<std::int64_t>(0, backoff_.count())(random_);
  const auto wait = std::max(backoff_ + std::chrono::milliseconds(jitter), at_least);
  const bool said = std::exchange(complaint_, why) == why;
  lost_ = true;
  if (said) {
    SLUICE_LOG_V(3, "Still cannot follow the API server's objects, trying again", {"kind", collection_.kind},
                 {"doing", listing_ ? "list" : "watch"}, {"retryInMs", wait.count()}, {"err", why});
  } else {
    SLUICE_LOG_WARNING("Cannot follow the API server's objects, keeping what is served and trying again",
                       {"kind", collection_.kind}, {"doing", listing_ ? "list" : "watch"}, {"retryInMs", wait.count()},
                       {"err", why});
  }
  if (status_ == 0) {
    board_.wait(collection_.kind, WaitsFor::kServer, config_.server(), why);
  } else {
    board_.wait(collection_.kind, WaitsFor::kObjects, collection_.kind, why);
  }
  if (listing_) continue_token_.clear();  // a list that broke starts over
  timer_.expires_after(wait);
  timer_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
    if (error || alive.expired()) return;
    listing_ ? list() : watch();
  });
}

}  // namespace sluice::kube
