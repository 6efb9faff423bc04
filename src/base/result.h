// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. Every function that can fail on outside data returns one; we throw nothing
// ourselves.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

// The kinds that callers branch on. People read Error::what, code never does.
enum class Errc : std::uint8_t {
  kNotFound,
  kAlreadyExists,
  kInvalid,
  kPermission,
  kUnsupported,
  kExhausted,
  kUnavailable,
  kInternal,
};

struct Error {
  Errc code;
  std::string what;   // "conntrack: delete 10.96.0.10:53/udp: operation not permitted"
  int sys_errno = 0;  // 0 when no system call was involved
};

// The only place that names tl::expected. There is no value() and no chaining: use SLUICE_TRY.
template <typename T = void>
class [[nodiscard]] Result : private tl::expected<T, Error> {
  using Base = tl::expected<T, Error>;

 public:
  using Base::Base;
  using Base::operator bool;
  using Base::operator*;
  using Base::operator->;
  using Base::error;
};

template <>
class [[nodiscard]] Result<void> : private tl::expected<void, Error> {
  using Base = tl::expected<void, Error>;

 public:
  using Base::Base;
  using Base::operator bool;
  using Base::error;
};

inline auto fail(Errc code, std::string what, int sys_errno = 0) {
  return tl::unexpected(Error{code, std::move(what), sys_errno});
}

inline auto annotate(Error error, const std::string& context) {
  error.what = context + ": " + error.what;
  return tl::unexpected(std::move(error));
}

}  // namespace sluice

// SLUICE_TRY(auto value, expression): returns the error, or binds the value.
#define SLUICE_TRY(lhs, expr) SLUICE_TRY_IMPL_(lhs, expr, SLUICE_CAT_(sluice_try_, __LINE__))
#define SLUICE_TRY_IMPL_(lhs, expr, tmp)                     \
  auto tmp = (expr);                                         \
  if (!tmp) return ::tl::unexpected(std::move(tmp).error()); \
  lhs = *std::move(tmp)
// SLUICE_CHECK_OK(expression): returns the error of a Result<>, or continues.
#define SLUICE_CHECK_OK(expr) \
  if (auto sluice_result = (expr); !sluice_result) return ::tl::unexpected(std::move(sluice_result).error())
#define SLUICE_CAT_(a, b) SLUICE_CAT2_(a, b)
#define SLUICE_CAT2_(a, b) a##b
