// The registration that protects the endpoint, and to which operators sign in at its page. It has no secret.
extension microsoftGraphV1

param name string
param identityPrincipalId string
param scopeId string
param connectorClientId string
param pageRedirectUri string

var dataverse = '00000007-0000-0000-c000-000000000000' // Dynamics CRM, the same in every tenant
var dataverseImpersonation = '78ce3f0f-a1ce-49c2-8cde-64b5c0896db4' // its user_impersonation

resource api 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: '${name}-api'
  displayName: name
  signInAudience: 'AzureADMyOrg'
  identifierUris: ['api://${tenant().tenantId}/${name}']
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'user_impersonation'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Close opportunities as the signed-in user'
        adminConsentDescription: 'Allows the application to close and reopen opportunities with the rights of the signed-in user.'
        userConsentDisplayName: 'Close opportunities for you'
        userConsentDescription: 'Allows the application to close and reopen opportunities with your rights.'
      }
    ]
    preAuthorizedApplications: [
      {
        appId: connectorClientId
        delegatedPermissionIds: [scopeId]
      }
    ]
  }
  appRoles: [
    {
      id: guid(name, 'Opportunities.Close')
      value: 'Opportunities.Close'
      displayName: 'Close opportunities'
      description: 'Applications that close opportunities as the endpoint itself.'
      allowedMemberTypes: ['Application']
      isEnabled: true
    }
    {
      id: guid(name, 'Operations.Manage')
      value: 'Operations.Manage'
      displayName: 'Manage operations'
      description: 'Those who see and manage the operations of everybody.'
      allowedMemberTypes: ['User', 'Application']
      isEnabled: true
    }
  ]
  web: {
    redirectUris: [pageRedirectUri]
    implicitGrantSettings: {
      enableAccessTokenIssuance: false
      enableIdTokenIssuance: false
    }
  }
  optionalClaims: {
    accessToken: [
      {
        name: 'idtyp'
        essential: false
      }
    ]
  }
  requiredResourceAccess: [
    {
      resourceAppId: dataverse
      resourceAccess: [
        {
          id: dataverseImpersonation
          type: 'Scope'
        }
      ]
    }
  ]

  resource credential 'federatedIdentityCredentials@v1.0' = {
    name: '${name}-api/managed-identity'
    description: 'The endpoint\'s managed identity stands in for a secret'
    audiences: ['api://AzureADTokenExchange']
    issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
  }
}

resource apiPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: api.appId
}

output apiClientId string = api.appId
output audience string = 'api://${tenant().tenantId}/${name}'
